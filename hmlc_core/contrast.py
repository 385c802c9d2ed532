"""SupCon for large batches, in blocks: the numbers of losses.py in less time and memory."""

import torch

LARGE = 256  # from so many embeddings on, blocks are faster than the plain form (on a CPU)
BLOCK, GPU_BLOCK = 512, 4096  # a block fits a CPU's cache; a GPU waits for each launch
KEEP_BLOCKS_UP_TO = 4096  # embeddings; above, the backward pass makes the blocks again


def anchor_losses(z, labels, temperature):
    """SupCon's loss of each anchor without an N x N matrix of pairs.

    loss_i = log sum_{a != i} exp(z_i.z_a / t) - z_i . (sum of i's positives) / (t |P(i)|), so the
    positives enter through the sum of each class's embeddings.

    Args:
        z: unit vectors [M, N, D], M = L, or 1 for embeddings that all levels share.
        labels: int [L, N], -1 = unknown.

    Returns:
        Losses [L, N], 0 where there is no positive, and whether there is one, bool [L, N].
    """
    known = (labels >= 0).view(len(z), -1, z.shape[1])  # [M, L / M, N]
    denominators = torch.cat([log_sum_exp(x, who, temperature) for x, who in zip(z, known)])
    near, count = zip(*map(_positives, z.expand(len(labels), -1, -1), labels))
    count = torch.where(labels >= 0, torch.stack(count), 0)
    losses = denominators - torch.stack(near) / temperature / count.clamp(min=1)
    return torch.where(count > 0, losses, 0), count > 0


def _positives(z, y):
    """Sum of z_i.z_p over the positives p of each sample i [N], and their number [N]."""
    number, size = class_numbers(y)
    class_sums = torch.zeros_like(z).index_add(0, number, z)
    return (z * (class_sums.index_select(0, number) - z)).sum(1), size - 1


def class_numbers(y):
    """A number below N for the class of each sample [N], and the size of that class [N]."""
    y = y.contiguous()
    ordered = y.sort().values
    number = torch.searchsorted(ordered, y)
    return number, torch.searchsorted(ordered, y, right=True) - number


def log_sum_exp(z, weights, temperature):
    """log sum_{a != i} w_a exp(z_i.z_a / t), [L, N], of unit vectors z [N, D], weights [L, N]."""
    wide = z.double() if temperature < 0.05 else z  # exp(-2 / t) becomes too small for float32
    with torch.autocast("cpu" if z.is_meta else z.device.type, enabled=False):
        return _LogSumExp.apply(wide, weights.to(wide.dtype), float(temperature)).to(z.dtype)


class _LogSumExp(torch.autograd.Function):
    """Similarities are symmetric, so the blocks E on and above the diagonal are enough; and the
    gradient of z_i, sum_a E_ia (c_i w_a + w_i c_a) z_a with c = gradient / sum / t, is one product
    a block where autograd has two."""

    @staticmethod
    def forward(ctx, z, weights, temperature):
        sums, kept = torch.zeros_like(weights), []
        for rows, columns in upper_blocks(z):
            e = exp_similarities(z, rows, columns, temperature)
            for total, w in zip(sums, weights):
                total[rows].addmv_(e, w[columns])
                if rows != columns:
                    total[columns].addmv_(e.T, w[rows])
            if len(z) <= KEEP_BLOCKS_UP_TO:
                kept.append(e)
        sums.clamp_(min=torch.finfo(z.dtype).tiny)  # of a sample alone
        ctx.temperature = temperature
        ctx.save_for_backward(z, weights, sums, *kept)
        return sums.log() + 1 / temperature

    @staticmethod
    def backward(ctx, gradient):
        if torch.is_grad_enabled():
            raise NotImplementedError("large batches have no second derivative (create_graph=True)")
        z, weights, sums, *kept = ctx.saved_tensors
        c, result = gradient / sums / ctx.temperature, torch.zeros_like(z)
        first, *others = zip(torch.cat([c, weights]), torch.cat([weights, c]))
        for number, (rows, columns) in enumerate(upper_blocks(z)):
            e = kept[number] if kept else exp_similarities(z, rows, columns, ctx.temperature)
            slope = torch.outer(first[0][rows], first[1][columns])
            for left, right in others:
                slope.addr_(left[rows], right[columns])
            slope.mul_(e)
            result[rows].addmm_(slope, z[columns])
            if rows != columns:
                result[columns].addmm_(slope.T, z[rows])
        return result, None, None


def upper_blocks(z):
    """(rows, columns) of the blocks on and above the diagonal of [N, N], as slices."""
    size = GPU_BLOCK if z.is_cuda else BLOCK
    parts = [slice(start, min(start + size, len(z))) for start in range(0, len(z), size)]
    return [(rows, columns) for i, rows in enumerate(parts) for columns in parts[i:]]


def exp_similarities(z, rows, columns, temperature):
    """exp((z_i.z_a - 1) / t), at most 1, and 0 for i = a."""
    shift = z.new_full((), -1 / temperature)
    e = torch.addmm(shift, z[rows], z[columns].T, alpha=1 / temperature).exp_()
    return e.fill_diagonal_(0) if rows == columns else e
