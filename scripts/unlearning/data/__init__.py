"""Where sequences come from: generated (corpus), published (challenge), the user's (own)."""
