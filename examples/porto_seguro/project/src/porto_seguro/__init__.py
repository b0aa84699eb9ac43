"""Train, judge, register and score a model from one data contract; `cli` is the front door."""
