"""What a run over several sentence tasks adds to the page: one leaderboard over a whole benchmark."""
