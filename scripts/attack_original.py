"""Attack a model before unlearning, and its control: what attacks find there is compared with.

An attack whose outcome does not depend on the forget set runs once for all of them.
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from unlearning import attacks
from unlearning.attacks.target import Knowledge, TargetSettings, attack_model, keyed, target_of
from unlearning.data.sequences import forget_set, read_sequences
from unlearning.jobs.console import add_paths, limit_threads, model_job, run
from unlearning.jobs.files import write_parquet
from unlearning.jobs.parts import Made, fingerprint, work_through
from unlearning.jobs.sources import sources
from unlearning.models.loading import device_for, load_model
from unlearning.settings import read_settings

INPUTS = {
    "original": "folder of the model",
    "tokenizer": "folder of the tokenizer",
    "sequences": "table of sequences",
    "forget_sets": "table of forget sets",
    "background": "rows of other text, .npy",
}


def main() -> None:
    """Attack the original and the control."""
    parser = model_job(__doc__, **INPUTS)
    parser.add_argument("--control", type=Path, help="folder of the model that never saw the pool")
    add_paths(parser, output="per-sequence table to write")
    arguments = parser.parse_args()
    limit_threads(arguments.threads)
    settings = read_settings(arguments.settings, TargetSettings)
    device = device_for(arguments.gpus)
    sequences = read_sequences(arguments.sequences)
    forget_sets = pd.read_parquet(arguments.forget_sets)
    knowledge = Knowledge(sequences, device, arguments.background, arguments.control)

    def values(role: str) -> Iterator[pd.DataFrame]:
        planted = sequences.loc[sequences["split"] == "planted", "sequence_id"].tolist()
        model = load_model(getattr(arguments, role), device)
        target = target_of(model, sequences, planted, settings, arguments.tokenizer, knowledge)
        once = attack_model(target, per_forget_set=False)
        sets = forget_sets[["forget_size", "seed"]].drop_duplicates()
        for size, seed in sets.to_numpy().tolist():
            forget = forget_set(forget_sets, size, seed)
            target = target_of(model, sequences, forget, settings, arguments.tokenizer, knowledge)
            keys = {"model": arguments.name, "forget_size": size, "unlearner": role, "seed": seed}
            anew = attack_model(target, per_forget_set=True)
            for rows in (once, anew):
                if len(rows):
                    yield keyed(rows, target.ids, forget, keys)

    def attacked(role: str) -> Made:
        return Made({"values": pd.concat(values(role), ignore_index=True)})

    roles = [role for role in ("original", "control") if getattr(arguments, role) is not None]
    inputs = [getattr(arguments, name) for name in dict.fromkeys([*INPUTS, *roles])]
    code = sources("attack_original.py", attacks.modules(settings.attacks))
    key = fingerprint(arguments.settings, [*inputs, *code])
    done = work_through({role: role for role in roles}, attacked, arguments.work, key)
    write_parquet(done.read("values", roles), arguments.output)
    done.close()


if __name__ == "__main__":
    run(main)
