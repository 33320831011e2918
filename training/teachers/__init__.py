"""The choice of a cheap level of theory to pretrain on, by a few frames with DFT labels."""
