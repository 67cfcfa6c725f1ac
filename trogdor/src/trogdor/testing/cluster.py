"""The cluster under test: a lab of this test run's own, or the user's (``--trogdor=HOST:PORT``)."""

import importlib
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from trogdor.client import Client
from trogdor.lab import Lab
from trogdor.testing.faults import names_of

RECIPES = ("etcd", "kafka")
"""Clusters of ``trogdor.lab.recipes`` that need no more than a lab."""


class Cluster:
    """Nodes with agents, and a coordinator; for a lab also its recipe, as an attribute of its name (``lab.etcd``)."""

    def __init__(self, client: Client, lab: Lab | None, nodes: Sequence[str]) -> None:
        self.client = client
        self.lab = lab
        self.names = list(nodes)
        self._recipes: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        recipes = self.__dict__.get("_recipes", {})
        if name in recipes:
            return recipes[name]
        lab = self.__dict__.get("lab")
        if name in RECIPES:
            raise AttributeError(f"this cluster has no {name}: @pytest.mark.lab(recipe={name!r}) starts one in a lab")
        if lab is None or name.startswith("_"):
            raise AttributeError(f"this cluster has no {name!r}")
        return getattr(lab, name)

    @property
    def nodes(self) -> Any:
        """A lab's nodes by name; of a user's own cluster, the names."""
        return self.lab.nodes if self.lab else self.names

    def others(self, *nodes: Any) -> list[str]:
        """The names of all nodes but these."""
        left_out = names_of(nodes)
        return [name for name in self.names if name not in left_out]


class OwnLab:
    """A lab with its daemons and a recipe, for the tests of one session that ask for the same."""

    def __init__(self, nodes: int, recipe: str | None, outlives: bool = False) -> None:
        """``outlives``: the lab does not end with this process, but when it is told to. Raises ValueError."""
        if recipe is not None and recipe not in RECIPES:
            raise ValueError(f"there is no recipe {recipe!r}; there are {', '.join(RECIPES)}")
        self.nodes, self.recipe, self.outlives = nodes, recipe, outlives
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with self._stack as stack:
            lab = stack.enter_context(Lab(nodes=self.nodes, owned=not self.outlives))
            lab.start_daemons()
            client = stack.enter_context(lab.client())
            self.cluster = Cluster(client, lab, list(lab.nodes))
            if self.recipe:
                self.cluster._recipes[self.recipe] = stack.enter_context(start_recipe(self.recipe, lab))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def keep(self) -> None:
        """Forgets to end it: ``--trogdor-keep``."""
        self._stack.pop_all()


def start_recipe(name: str, lab: Lab) -> Any:
    """The cluster that a recipe starts on a lab's nodes: ``trogdor.lab.recipes.<name>``, its class of that name."""
    module = importlib.import_module(f"trogdor.lab.recipes.{name}")
    return getattr(module, name.capitalize())(lab)


def leftovers(cluster: Cluster) -> list[str]:
    """What is in force on the cluster, or will be, although no test runs: one line a task."""
    tasks = cluster.client.tasks()
    return [
        f"task {task_id} ({task['spec']['class']}) is {task['state']}"
        for task_id, task in tasks.items()
        if task["state"] != "DONE"
    ]
