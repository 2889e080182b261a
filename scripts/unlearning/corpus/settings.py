"""Settings of the generated corpus, under the name of their package."""

from unlearning.settings.corpus import CorpusSettings

__all__ = ["CorpusSettings"]
