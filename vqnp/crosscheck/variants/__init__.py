"""What VQ layers can be: the table, the formulas, the layers, and the reference that takes any of them on."""
