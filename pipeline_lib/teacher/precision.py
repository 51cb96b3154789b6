"""Number formats of the forward pass, and the step that goes with them.

CPU: float32. CUDA: bf16 autocast where the card has it, else fp16 with a gradient scaler (start 1024, growth 2,
back-off 0.5 every 2000 steps, at most 4096). TF32 for float32 products on CUDA. Source: teacher.md section 15.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_START, _INTERVAL, _MOST = 1024.0, 2000, 4096.0


class Precision:
    """``wanted`` is auto, fp32, bf16 or fp16; on the CPU it is float32 whatever is wanted by ``auto``."""

    def __init__(self, wanted: str, device: torch.device) -> None:
        self.name = _settled(wanted, device)
        self._type = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.name)
        self._device = device.type
        self.scaler = torch.amp.GradScaler(
            device.type, init_scale=_START, growth_interval=_INTERVAL, enabled=self.name == "fp16"
        )
        if device.type == "cuda":
            torch.backends.cuda.matmul.fp32_precision = "tf32"
            torch.backends.cudnn.benchmark = True

    def autocast(self) -> torch.autocast:
        return torch.autocast(self._device, self._type or torch.bfloat16, enabled=self._type is not None)

    def scaled(self, loss: Tensor) -> Tensor:
        scaled: Tensor = self.scaler.scale(loss)
        return scaled

    def step(self, optimiser: torch.optim.Optimizer, model: nn.Module, clip: float) -> Tensor:
        """Unscale, clip the model's gradients to ``clip``, step. Returns their norm before.

        A norm that is not finite takes no step. Under fp16 that is the scaler's everyday work, and 0 is returned.
        """
        self.scaler.unscale_(optimiser)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        if not self.scaler.is_enabled():
            if norm.isfinite():
                optimiser.step()
            return norm
        self.scaler.step(optimiser)
        self.scaler.update()
        if self.scaler.get_scale() > _MOST:
            self.scaler.update(_MOST)
        return torch.zeros(())

    def state(self) -> dict[str, float]:
        found: dict[str, float] = self.scaler.state_dict()
        return found

    def restore(self, state: dict[str, float]) -> None:
        if state:
            self.scaler.load_state_dict(state)


def _settled(wanted: str, device: torch.device) -> str:
    if wanted != "auto":
        return wanted
    if device.type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
