"""The pure half of Flux: what Sluice writes, and what it makes of Flux's answers."""
