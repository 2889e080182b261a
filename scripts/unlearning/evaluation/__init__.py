"""The NLP suite: what a model can still do, item by item.

A task is a name, a kind and a file of items (JSON lines). `items` reads and checks the files,
`suite` scores a model on them with the evaluation harness (lm-eval), `scoring` holds what makes an
item's value of the model's answers, and `aggregate` makes a task's score of its items' values.
Only `suite` imports torch.
"""
