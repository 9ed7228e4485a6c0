"""What scores mean, in a sentence each, for those that a page shows."""

from __future__ import annotations

from collections.abc import Sequence

from reports.training.data import TaskRun
from reports.words import score_name

SCORES = {
    "BLEU": "How many runs of one to four words a translation shares with its reference, over a whole split; 0 to 100 "
    "(Papineni et al. 2002), by sacrebleu, which cuts words by its rule 13a.",
    "tokenised_BLEU": "BLEU over words as the task itself cuts them, as some papers report it: not comparable with BLEU.",
    "chrF": "The same idea over runs of one to six letters (Popović 2015), so it forgives word forms; 0 to 100.",
    "bits_per_character": "Loss in base 2 for each character of the text: how many yes-no questions it takes on average.",
    "perplexity": "e to the power of the mean loss: among so many equally likely tokens the model chooses, as it were.",
    "accuracy": "Share of predictions that are right. Of a translation: of its next tokens, each with the reference up to "
    "there given.",
    "perfect": "Share of sequences in which every prediction is right.",
    "recall_accuracy": "Accuracy on the symbols to be recalled alone.",
    "f1": "Harmonic mean of precision and recall of the class that counts as positive.",
    "matthews_correlation": "Correlation of answers and classes; 0 is what a constant gives, however unequal the classes.",
    "f1_accuracy_mean": "Mean of F1 (harmonic mean of precision and recall of the positive class) and accuracy.",
    "pearson_spearman_mean": "Mean of two correlations with the true values: of the numbers (Pearson), of their ranks "
    "(Spearman).",
    "loss": "Mean negative log-probability of what is right, in nats; of a regression the mean squared error.",
}


def scores_shown(tasks: Sequence[TaskRun]) -> list[tuple[str, str]]:
    """Name and meaning of each score on the test splits of these tasks that has one, once."""
    found = {m.name: score_name(m.name) for task in tasks for m in task.metrics(task.test_split)}
    return [(words, SCORES[name]) for name, words in found.items() if name in SCORES]
