"""Which cheap level of theory to pretrain on: each against a few frames with DFT labels."""
