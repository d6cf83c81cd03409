"""Gemma 3 in JAX, from a GGUF file: the brain that answers choice questions on a plain CPU.

    brain.py       GemmaBrain: the contract of `node.brains.base` (start here)
    weights.py     finds the weight file: joins the packaged parts once, or takes --model; Gemma's terms
    gguf.py        reads GGUF files, hostile ones too
    quants.py      ggml's block formats to float32
    config.py      hyper-parameters from metadata, checked against the tensors
    tokenizer.py   rebuilds the SentencePiece model from the vocabulary
    layer.py       one layer: the function that is compiled
    decoder.py     batched passes in few shapes over cached pasts
    prefixes.py    few-shot prefixes, computed once and kept while there is room
    scoring.py     log-probabilities of choices
    sampling.py    writing text
    prompts.py     question to tokens, for base and instruction-tuned models; content-free forms
    machine.py     free memory; where compiled code is kept

`GemmaBrain` owns the loaded model and is used by one thread. Only `decoder`, `layer`, `sampling` and what imports them bring in JAX, and
`brain` imports those when it loads. Every shape is compiled once per layer function and kept on disk, so a second start compiles
nothing.
"""
