"""What is evaluated: trained models, outputs of other programs, classical filters by rule or tuned."""
