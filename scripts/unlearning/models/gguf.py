"""Models that come as one GGUF file: read once, written as an ordinary model folder."""

from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

from unlearning.jobs.errors import InputError, first_line


def unpack_gguf(file: Path | str, target: Path) -> None:
    """Write a GGUF file as a folder of config.json, float32 safetensors weights and tokenizer.

    Quantized weights become the float32 numbers that they stand for: unlearning takes steps far
    smaller than the grid of a quantization.

    Args:
        file: of an architecture that transformers reads from GGUF (Llama, Qwen2, GPT-2, ...).
        target: folder to make.

    Raises:
        InputError: no such file, or none that transformers can read.
    """
    file = Path(file)
    if not file.is_file():
        raise InputError(f"{file}: no such file; models.<name>.gguf is a path from here")
    where = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    try:
        model = AutoModelForCausalLM.from_pretrained(**where)
        tokenizer = AutoTokenizer.from_pretrained(**where)
    except (OSError, ValueError, KeyError, IndexError, NotImplementedError) as error:
        raise InputError(
            f"{file}: cannot be read as GGUF ({first_line(error)}); give the model's safetensors"
            " folder instead"
        ) from None
    # what is left of the quantization in the object would be refused by save_pretrained
    del model.hf_quantizer, model.config.quantization_config
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
