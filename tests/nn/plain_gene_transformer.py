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

    def outputs(self, inputs, kind):
        """What is said of all genes of a group, from its features, neighbours, edges and known relations.

        `kind` is the row of the kind of perturbation that is told.
        """
        x = np.stack([self.linear("embed.2", gelu(self.linear("embed.0", row))) for row in inputs.features])
        x = x + self.weights["kind.weight"][kind]
        n_layers = 1 + max(int(name.split(".")[1]) for name in self.weights if name.startswith("layers."))
        for layer in range(n_layers):
            name = f"layers.{layer}"
            for part in (self.neighbours, self.known, self.attention, self.feed_forward):
                x = x + part(name, x, inputs)
        head = [self.linear("head.3", gelu(self.linear("head.1", self.norm("head.0", gene)))) for gene in x]
        logits, direction = np.array(head).T
        return {
            "logits": logits,
            "direction": direction,
            "own": self.own(inputs, kind),
            "kind": self.kind_of(x, logits),
        }

    def own(self, inputs, kind):
        """By each gene's first features and the kind that is told."""
        told = self.weights["kind.weight"][kind]
        number = self.weights["own.0.weight"].shape[1] - len(told)
        found = []
        for row in inputs.features:
            inner = gelu(self.linear("own.0", np.concatenate([row[:number], told])))
            found.append(self.linear("own.4", gelu(self.linear("own.2", inner)))[0])
        return np.array(found)

    def kind_of(self, x, logits):
        """From the likely targets' and the mean state."""
        share = np.exp(logits - logits.max())
        state = np.concatenate([share / share.sum() @ x, x.mean(axis=0)])
        return self.linear("kind_head.3", gelu(self.linear("kind_head.1", self.norm("kind_head.0", state))))

    def known(self, layer, x, inputs):
        """Values of the genes that each is known to regulate, and of those that regulate it; gated."""
        if inputs.known is None:
            return 0.0
        name = f"{layer}.known"
        y = [self.norm(f"{name}.norm", gene) for gene in x]
        values = np.stack([self.linear(f"{name}.value", gene) for gene in y])
        read = np.hstack([inputs.known @ values, inputs.known.T @ values])
        return np.stack(
            [
                self.linear(f"{name}.out", row * sigmoid(self.linear(f"{name}.gate", gene)))
                for row, gene in zip(read, y, strict=True)
            ]
        )

    def neighbours(self, layer, x, inputs):
        """Others' values, weighted by what is known of each pair, and the weights themselves; gated."""
        name = f"{layer}.neighbours"
        y = [self.norm(f"{name}.norm", gene) for gene in x]
        found = []
        for gene, row in enumerate(inputs.neighbours):
            near = [(place, other) for place, other in enumerate(row) if other >= 0]
            # a weight for each head, which has a part of the values
            heads = len(self.weights[f"{name}.pair.2.weight"])
            total, weights = 0, np.zeros(heads)
            for place, other in near:
                pair = gelu(self.linear(f"{name}.pair.0", inputs.edges[gene, place]))
                weight = self.linear(f"{name}.pair.2", pair) / np.sqrt(len(near))
                value = self.linear(f"{name}.value", y[other])
                total = total + np.repeat(weight, len(value) // heads) * value
                weights = weights + weight
            if not near:
                found.append(np.zeros_like(x[gene]))
                continue
            gate = sigmoid(self.linear(f"{name}.gate", y[gene]))
            found.append(self.linear(f"{name}.out", np.concatenate([total, weights]) * gate))
        return np.stack(found)

    def attend(self, query, key, value):
        """Softmax of products over the root of a head's width, head by head."""
        heads = []
        for q, k, v in zip(
            *(np.split(part, self.heads, axis=1) for part in (query, key, value)), strict=True
        ):
            weights = np.exp(q @ k.T / np.sqrt(q.shape[1]))
            heads.append(weights / weights.sum(axis=1, keepdims=True) @ v)
        return np.hstack(heads)

    def attention(self, layer, x, inputs):
        """Points read all genes, as sharply as if there were 200 of them; every gene reads the points."""
        name = f"{layer}.attention"
        of_genes = np.stack([self.linear(f"{name}.of_genes", self.norm(f"{name}.norm", gene)) for gene in x])
        query, key, value = np.split(of_genes, 3, axis=1)
        sharpness = np.log(max(len(x), 2)) / np.log(200)
        seen = self.attend(self.weights[f"{name}.points"] * sharpness, key, value)
        points = [self.linear(f"{name}.of_points.1", self.norm(f"{name}.of_points.0", row)) for row in seen]
        read = self.attend(query, *np.split(np.stack(points), 2, axis=1))
        return np.stack([self.linear(f"{name}.out", gene) for gene in read])

    def feed_forward(self, layer, x, inputs):
        name = f"{layer}.feed_forward"
        inner = [gelu(self.linear(f"{name}.1", self.norm(f"{name}.0", gene))) for gene in x]
        return np.stack([self.linear(f"{name}.4", gene) for gene in inner])
