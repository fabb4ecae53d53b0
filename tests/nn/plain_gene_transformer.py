"""The gene transformer in plain numpy, gene by gene, as its description reads."""

import numpy as np
from scipy.special import erf


def gelu(x):
    return x * 0.5 * (1 + erf(x / np.sqrt(2)))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class Plain:
    """One member; `weights` are its state dict as arrays."""

    def __init__(self, weights, heads):
        self.weights, self.heads = weights, heads

    def linear(self, name, x):
        bias = self.weights.get(f"{name}.bias", 0.0)
        return self.weights[f"{name}.weight"] @ x + bias

    def norm(self, name, x):
        scaled = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def logits(self, inputs, kind):
        """Of all genes; `kind` is the row of the embedding."""
        x = np.stack([self.linear("embed.2", gelu(self.linear("embed.0", row))) for row in inputs.features])
        x = x + self.weights["kind.weight"][kind]
        n_layers = 1 + max(int(name.split(".")[1]) for name in self.weights if name.startswith("layers."))
        for layer in range(n_layers):
            name = f"layers.{layer}"
            for part in (self.neighbours, self.mixing, self.attention, self.feed_forward):
                x = x + part(name, x, inputs)
        head = [self.linear("head.3", gelu(self.linear("head.1", self.norm("head.0", gene)))) for gene in x]
        return np.concatenate(head)

    def neighbours(self, layer, x, inputs):
        """Gated messages of a gene's neighbours: their sum over the root of their number, and the largest."""
        name = f"{layer}.neighbours"
        y = [self.norm(f"{name}.norm", gene) for gene in x]
        found = []
        for gene, row in enumerate(inputs.neighbours):
            messages = []
            for place, other in enumerate(row):
                if other >= 0:
                    message = self.linear(f"{name}.receiver", y[gene]) + self.linear(
                        f"{name}.sender", y[other]
                    )
                    message = message + self.linear(f"{name}.pair", inputs.edges[gene, place])
                    gate, value = np.split(message, 2)
                    messages.append(sigmoid(gate) * gelu(value))
            if not messages:
                messages = [np.zeros(len(self.weights[f"{name}.sender.weight"]) // 2)]
            read = np.concatenate([sum(messages) / np.sqrt(len(messages)), np.max(messages, axis=0)])
            found.append(self.linear(f"{name}.out", read))
        return np.stack(found)

    def mixing(self, layer, x, inputs):
        """Others' values through the signed weights, gated by the reader."""
        name = f"{layer}.mixing"
        y = [self.norm(f"{name}.norm", gene) for gene in x]
        values = np.stack([self.linear(f"{name}.value", gene) for gene in y])
        parts = np.split(values, len(inputs.mixing), axis=1)
        mixed = np.hstack([matrix @ part for matrix, part in zip(inputs.mixing, parts, strict=True)])
        gates = [sigmoid(self.linear(f"{name}.gate", gene)) for gene in y]
        return np.stack([self.linear(f"{name}.out", m * g) for m, g in zip(mixed, gates, strict=True)])

    def attention(self, layer, x, inputs):
        """Every gene to all genes: softmax of products over the root of a head's width."""
        name = f"{layer}.attention"
        qkv = np.stack([self.linear(f"{name}.qkv", self.norm(f"{name}.norm", gene)) for gene in x])
        heads = []
        for q, k, v in zip(
            *(np.split(part, self.heads, axis=1) for part in np.split(qkv, 3, axis=1)), strict=True
        ):
            weights = np.exp(q @ k.T / np.sqrt(q.shape[1]))
            heads.append(weights / weights.sum(axis=1, keepdims=True) @ v)
        return np.stack([self.linear(f"{name}.out", gene) for gene in np.hstack(heads)])

    def feed_forward(self, layer, x, inputs):
        name = f"{layer}.feed_forward"
        inner = [gelu(self.linear(f"{name}.1", self.norm(f"{name}.0", gene))) for gene in x]
        return np.stack([self.linear(f"{name}.4", gene) for gene in inner])
