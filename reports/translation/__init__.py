"""What the page of a run that translates shows beside scores: sentences, alignments, BLEU by length, systems compared."""
