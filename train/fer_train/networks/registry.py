"""The networks by their names in a recipe."""

from __future__ import annotations

from fer_train.networks.custom import CustomNetwork
from fer_train.networks.fer_edge import FerEdge
from fer_train.networks.mini_xception import MiniXception
from fer_train.networks.network import Network
from fer_train.networks.vgg16 import Vgg16
from fer_train.recipe.recipe import Recipe

NETWORKS: dict[str, type[Network]] = {"fer_edge": FerEdge, "mini_xception": MiniXception, "vgg16": Vgg16}
"""By ``model.architecture``; any other value is the ``module:function`` of a ``CustomNetwork``."""


def network_of(recipe: Recipe, labels: int, size: tuple[int, int]) -> Network:
    """Return the network that ``recipe`` names, for ``labels`` labels and images of ``size`` (height, width).

    Raises:
        InputError: if it cannot be trained at the recipe's sizes.
    """
    return NETWORKS.get(recipe.model.architecture, CustomNetwork)(recipe, labels, size)
