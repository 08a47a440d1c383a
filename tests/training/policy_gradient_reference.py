"""Policy gradients as their papers write them, in float64 with the gradient by hand; and once more in torch."""

import numpy as np


def log_softmax(logits):
    top = logits.max(-1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))


def advantages(kind, rewards):
    r = np.asarray(rewards, np.float64)
    if kind == "grpo":
        return (r - r.mean()) / (r.std(ddof=1) + 1e-6)
    if kind == "rloo":
        return np.array([r[i] - np.delete(r, i).mean() for i in range(len(r))])
    return r - r.mean()


def reference(logits, attempts, *, low, high, average, kl, longest):
    """The loss, and its gradient by the logits.

    Args:
      logits: [B, L, V] float64. attempts: (row, positions, targets, old, base, advantage) of each.
    """
    loss, gradient = 0.0, np.zeros_like(logits)
    tokens = sum(len(positions) for _, positions, *_ in attempts)
    for row, positions, targets, old, base, advantage in attempts:
        share = {
            "attempt": 1 / (len(attempts) * len(positions)),
            "token": 1 / tokens,
            "constant": 1 / (len(attempts) * longest),
        }[average]
        for position, target, before, under in zip(positions, targets, old, base, strict=True):
            logs = log_softmax(logits[row, position])
            ratio = np.exp(logs[target] - before)
            bounded = min(max(ratio, 1 - low), 1 + high)
            value = -min(ratio * advantage, bounded * advantage)
            slope = -ratio * advantage if ratio * advantage <= bounded * advantage else 0.0
            behind = under - logs[target]
            value += kl * (np.exp(behind) - behind - 1)
            slope += kl * (1 - np.exp(behind))
            by_logits = -np.exp(logs)
            by_logits[target] += 1
            loss += share * value
            gradient[row, position] += share * slope * by_logits
    return loss, gradient


def torch_reference(logits, attempts, *, low, high, average, kl, longest):
    """The same by torch's own differentiation."""
    import torch

    leaf = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    logs = torch.log_softmax(leaf, -1)
    sums, tokens = [], 0
    for row, positions, targets, old, base, advantage in attempts:
        new = logs[row, torch.tensor(positions), torch.tensor(targets)]
        ratio = torch.exp(new - torch.tensor(old, dtype=torch.float64))
        value = -torch.minimum(ratio * advantage, torch.clamp(ratio, 1 - low, 1 + high) * advantage)
        behind = torch.tensor(base, dtype=torch.float64) - new
        value = value + kl * (torch.exp(behind) - behind - 1)
        tokens += len(positions)
        sums.append(value.mean() if average == "attempt" else value.sum())
    total = torch.stack(sums).sum()
    divisor = {"attempt": len(attempts), "token": tokens, "constant": len(attempts) * longest}[average]
    (total / divisor).backward()
    return float(total.detach()) / divisor, leaf.grad.numpy()
