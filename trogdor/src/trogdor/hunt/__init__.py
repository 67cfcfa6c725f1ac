"""Schedule after schedule until a check fails; then the smallest schedule that still fails."""
