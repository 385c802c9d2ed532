"""Which device to train on, what it is called, and in which precision it computes."""

import torch


def best_device():
    """cuda if there is one, else cpu."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device):
    """ "cpu (2 threads) in float32", or the name of the GPU and precision(device)."""
    gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if gpu else f"cpu ({torch.get_num_threads()} threads)"
    return f"{name} in {str(precision(device)).removeprefix('torch.')}"


def precision(device):
    """bfloat16 where the hardware multiplies it natively, float16 on older GPUs, else float32."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float16
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32


def autocast(device):
    """A context in which the encoder runs in precision(device)."""
    kind = precision(device)
    enabled = kind != torch.float32
    return torch.autocast(device.type, kind if enabled else torch.bfloat16, enabled=enabled)
