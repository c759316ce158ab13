"""The layers compute what their weights stand for, by every product there is here; they save, move, join and train."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import peft
import pytest
import torch
from torch import Tensor, nn

from core.models.quantised import choice, processor
from core.models.quantised.choice import pack, prepare
from core.models.quantised.linear import Int4Linear, Int8Linear, QuantisedLinear, fuse
from core.models.quantised.processor import Int4Packed, Int8Grouped, Int8Packed
from core.models.quantised.product import Dequantising, Product, multiply_dequantised
from core.models.quantised.rounding import to_int4, to_int8
from core.models.quantised.weight import QuantisedWeight, join_nibbles

torch.set_num_threads(1)
BLOCK = 64 if "AVX512" in torch.backends.cpu.get_cpu_capability() else 32
int4 = partial(Int4Packed, block=BLOCK, few=32)


@pytest.fixture(autouse=True)
def _same_numbers_each_time() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _by_torch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without a compiler; our own product has tests of its own (native/)."""
    monkeypatch.setattr(choice, "_native_trial", lambda bits: False)


def random_weight(
    bits: int, outputs: int, inputs: int, group: int, *, zeros: bool = False, order: bool = False
) -> QuantisedWeight:
    codes = torch.randint(0, 1 << bits, (outputs, inputs), dtype=torch.uint8)
    shape = (outputs, inputs // group)
    return QuantisedWeight(
        codes=join_nibbles(codes) if bits == 4 else codes,
        scales=(torch.rand(shape) * 0.02 + 0.01).half(),
        zeros=torch.randint(1, (1 << bits) + 1, shape, dtype=torch.int16) if zeros else None,
        order=torch.randperm(inputs) if order else None,
        bits=4 if bits == 4 else 8,
    )


def off(found: Tensor, expected: Tensor) -> float:
    return float((found.detach().float() - expected.detach().float()).norm() / expected.detach().float().norm())


PRODUCTS: list[tuple[int, int, int, int, Callable[[QuantisedWeight], Product]]] = [
    (4, 96, 256, 128, partial(int4, group=128)),
    (4, 80, 256, 256, partial(int4, group=256)),  # rows that fill no block
    (4, 112, 512, 32, partial(int4, group=32)),
    (4, 96, 896, 896, partial(int4, group=128)),  # one group a row, in the kernel seven
    (8, 96, 256, 256, Int8Packed),
    (8, 50, 320, 320, Int8Packed),
    (8, 96, 256, 128, Int8Grouped),
    (8, 64, 512, 64, Int8Grouped),
]


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize(("bits", "outputs", "inputs", "group", "make"), PRODUCTS)
def test_packed_products_agree_with_the_reference(
    bits: int, outputs: int, inputs: int, group: int, make: Callable[[QuantisedWeight], Product], zeros: bool
) -> None:
    weight = random_weight(bits, outputs, inputs, group, zeros=zeros)
    product = make(weight)
    back = product.weight()
    for field in ("codes", "scales", "zeros"):
        assert (mine := getattr(weight, field)) is None or torch.equal(getattr(back, field), mine)
    for dtype, limit in ((torch.float32, 1e-3), (torch.bfloat16, 4e-3), (torch.float16, 1e-3)):
        limit = 5e-3 if bits == 4 else limit  # its kernel computes in bf16
        for rows in (1, 5, 40):
            x = torch.randn(rows, inputs).to(dtype)
            found = product(x)
            assert found.dtype == dtype and off(found, multiply_dequantised(x.float(), weight)) < limit


@pytest.mark.parametrize("block", [32, 64])
def test_weights_are_packed_for_the_kernel_whatever_their_size(block: int) -> None:
    """For every processor's block, here or not: a kernel takes no view, and one square block is easily one."""
    for outputs, inputs in ((32, 32), (64, 64), (64, 128), (128, 64), (80, 64), (16, 64)):
        codes = torch.randint(0, 16, (outputs, inputs), dtype=torch.uint8)
        packed = processor.pack(codes, block)
        assert packed.is_contiguous() and packed.shape == (outputs, inputs // 2)
        assert torch.equal(processor.unpack(packed, block), codes)
    for outputs, inputs in ((64, 64), (128, 64), (64, 128)):
        weight = random_weight(4, outputs, inputs, inputs)
        x = torch.randn(2, inputs).bfloat16()
        assert off(int4(weight, group=inputs)(x), multiply_dequantised(x.float(), weight)) < 5e-3


@pytest.mark.parametrize("rows", [1, 7])
def test_int8_keeps_small_activations_beside_a_large_one(rows: int) -> None:
    """What rounds them to 7 bits, as the kernel does by itself, loses a tenth and more here."""
    weight = to_int8(torch.randn(64, 256) * 0.02)
    x = torch.randn(rows, 256)
    x[:, 5] *= 100
    product = Int8Packed(weight)
    assert off(product(x), multiply_dequantised(x, weight)) < 2e-3
    x = x.abs()  # all on one side of zero
    assert off(product(x), multiply_dequantised(x, weight)) < 2e-3
    assert not product(torch.zeros(rows, 256)).any()


def test_the_largest_values_do_not_overflow() -> None:
    weight = QuantisedWeight(torch.full((32, 256), 255, dtype=torch.uint8), torch.ones(32, 1), None, None, 8)
    for x in (torch.full((1, 256), 3.0), torch.full((3, 256), -3.0)):
        assert off(Int8Packed(weight)(x), multiply_dequantised(x, weight)) < 1e-3


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("order", [False, True])
def test_a_layer_is_the_linear_layer_of_its_weights(bits: int, order: bool) -> None:
    weight = random_weight(bits, 96, 128, 32, zeros=True, order=order)
    layer = kind(bits)(weight, torch.randn(96))
    plain = weight.in_order_of_input(weight.dequantised())
    x = torch.randn(2, 3, 128, requires_grad=True)
    expected = nn.functional.linear(x, plain, layer.bias)
    for _ in range(2):  # dequantised, then packed
        found = layer(x)
        assert found.shape == (2, 3, 96) and off(found, expected) < 5e-3
        gradient, wanted = (torch.autograd.grad(out.square().sum(), x)[0] for out in (found, layer_of(plain, layer)(x)))
        assert off(gradient, wanted) < 1e-2
        prepare(layer, torch.bfloat16)
    assert layer.backend in ("int4pack", "fbgemm_groups") and layer.backend_reason.startswith("backend_int")


def kind(bits: int) -> type[QuantisedLinear]:
    return Int4Linear if bits == 4 else Int8Linear


def layer_of(plain: Tensor, layer: QuantisedLinear) -> nn.Linear:
    made = nn.Linear(layer.in_features, layer.out_features)
    made.weight.data, made.bias.data = plain, layer.bias.clone() if layer.bias is not None else made.bias.data
    return made


@pytest.mark.parametrize("bits", [4, 8])
def test_layers_are_saved_and_loaded_whatever_they_are_packed_into(bits: int) -> None:
    first = kind(bits)(random_weight(bits, 64, 128, 64, zeros=True, order=True), torch.randn(64))
    other = kind(bits)(random_weight(bits, 64, 128, 128), torch.zeros(64))
    x = torch.randn(2, 128).bfloat16()
    expected = first(x)
    prepare(first, torch.bfloat16)
    tree = nn.ModuleDict({"a": other})
    assert not any(tree.load_state_dict(nn.ModuleDict({"a": first}).state_dict()))
    assert torch.equal(other(x), expected)
    with pytest.raises(RuntimeError, match="codes"):
        tree.load_state_dict({"a.bias": torch.zeros(64)})
    assert torch.equal(tree.half()["a"].weight_of().scales, first.weight_of().scales)


@pytest.mark.parametrize("bits", [4, 8])
def test_joined_layers_share_one_product(bits: int) -> None:
    parts = [kind(bits)(random_weight(bits, rows, 128, 128), torch.randn(rows)) for rows in (64, 32, 16)]
    tree = nn.ModuleList(parts)
    x = torch.randn(1, 128).bfloat16()
    expected = [part(x) for part in parts]
    whole = fuse(parts)
    pack(tree, torch.bfloat16)
    assert whole.backend != Dequantising.name and all(part.backend == whole.backend for part in parts)
    assert off(whole(x), torch.cat(expected, 1)) < 8e-3
    assert all(off(part(x), y) < 8e-3 for part, y in zip(parts, expected, strict=True))
    assert sum(part.size_bytes for part in parts) == pytest.approx(whole.size_bytes, abs=3)
    assert fuse(parts) is whole
    product = whole.product
    pack(tree, torch.bfloat16)
    assert whole.product is product
    with pytest.raises(ValueError):
        fuse([parts[0], kind(bits)(random_weight(bits, 16, 128, 32))])


def test_where_nothing_faster_fits_the_reason_says_so() -> None:
    odd, grouped = random_weight(4, 50, 128, 64), random_weight(4, 64, 120, 24)
    assert [choice.choose(weight, torch.bfloat16).reason for weight in (odd, grouped)] == ["backend_group"] * 2
    assert choice.choose(random_weight(4, 64, 128, 64), torch.float32).reason == "backend_exact"
    assert choice.choose(random_weight(8, 64, 128, 64), torch.float32, is_exact=True).reason == "backend_exact"
    assert choice.choose(random_weight(8, 64, 128, 64), torch.float32).name == "fbgemm_groups"


def test_a_product_that_differs_is_not_used(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A kernel may be there and be wrong."""
    monkeypatch.setattr(Int8Packed, "__call__", lambda self, x: torch.zeros(x.shape[0], self._scales.shape[0]))
    assert not choice._int8_trial.__wrapped__()
    assert "differs from the reference" in caplog.text
    caplog.clear()


class Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(64)
        self.up = Int4Linear(to_int4(torch.randn(128, 64)))
        self.down = Int8Linear(to_int8(torch.randn(64, 128)), torch.randn(64))
        self.config = {"model_type": "custom"}

    def forward(self, x: Tensor) -> Tensor:
        down: Tensor = self.down(torch.relu(self.up(self.norm(x))))
        return down


class LoraOnQuantised(nn.Module, peft.tuners.lora.LoraLayer):
    """What training will put in front of these layers, as small as it can be."""

    def __init__(self, base_layer: QuantisedLinear, adapter_name: str, **kwargs: object) -> None:
        super().__init__()
        peft.tuners.lora.LoraLayer.__init__(self, base_layer)
        self.update_layer(adapter_name, r=4, lora_alpha=4, config=kwargs["config"])

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.base_layer(x)
        for name in () if self.disable_adapters else self.active_adapters:
            out = out + self.lora_B[name](self.lora_A[name](x)) * self.scaling[name]
        return out


@pytest.mark.filterwarnings("ignore:Unsupported layer type:UserWarning")  # by a wrapper of our own it is supported
def test_peft_trains_adapters_on_them() -> None:
    body, x = Body(), torch.randn(3, 64)
    before, weights = body(x), {name: tensor.clone() for name, tensor in body.state_dict().items()}
    config = peft.LoraConfig(r=4, target_modules=["up", "down"])
    config._register_custom_module({Int4Linear: LoraOnQuantised, Int8Linear: LoraOnQuantised})
    model = peft.get_peft_model(body, config)
    assert torch.equal(model(x), before)
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 0.01)
    model(x).square().sum().backward()
    optimiser.step()
    model(x).square().sum().backward()
    optimiser.step()
    assert not torch.equal(model(x), before)
    with model.disable_adapter():
        assert torch.equal(model(x), before)
    kept = {name.replace(".base_layer", ""): tensor for name, tensor in model.base_model.model.state_dict().items()}
    assert all(torch.equal(kept[name], tensor) for name, tensor in weights.items())
