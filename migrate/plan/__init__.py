"""plan.yaml: the contract between what was found, the person who decides, and the generators."""
