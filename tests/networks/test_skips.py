import torch

from ctcycle.networks.resnet import ResNetGenerator
from ctcycle.networks.specs import GeneratorSpec


def test_features_of_the_same_resolution_are_added_on_the_way_up() -> None:
    """With everything between silenced, the output is that of the first features alone."""
    spec = GeneratorSpec(filters=3, blocks=1, downsamplings=2, kernel=3, skips=True, zero_last=False, init="kaiming")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = ResNetGenerator(spec)
    image = torch.randn(1, 1, 24, 20, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for layer in net.body:
            if isinstance(layer, torch.nn.ConvTranspose2d):
                layer.weight.zero_()
        first = net.body[:4](image)
        assert torch.allclose(net(image), image + net.body[-2:](first), atol=1e-6)
        assert not torch.allclose(net.body(image), net(image) - image, atol=1e-3)


def test_skips_change_no_weight_and_any_size_is_accepted() -> None:
    plain, skips = (ResNetGenerator(GeneratorSpec(filters=4, blocks=1, skips=given)) for given in (False, True))
    assert {name: value.shape for name, value in plain.state_dict().items()} == {
        name: value.shape for name, value in skips.state_dict().items()
    }
    assert skips(torch.zeros(1, 1, 30, 41)).shape == (1, 1, 30, 41)
