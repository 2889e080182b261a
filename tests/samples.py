"""Small samples of the published data, laid out as a mirror, where they are at hand."""

import os
from pathlib import Path

import pytest

MIRROR = Path(os.environ.get("UNLEARNING_MIRROR", Path(__file__).parents[2] / "shared/data"))
needs_samples = pytest.mark.skipif(
    not (MIRROR / "extraction").is_dir(),
    reason=f"no samples of the published data at {MIRROR}; name a folder in UNLEARNING_MIRROR",
)
