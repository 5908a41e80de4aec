"""Attributes of data sets that are set a second time, such as a transform."""

from __future__ import annotations

from typing import Any

from torch.utils.data import DataLoader, Dataset, Subset

from truefit.doctor.callsite import call_site
from truefit.doctor.log import Replaced
from truefit.doctor.watch.watch import Watch

MOST = 100


def install(watch: Watch) -> None:
    """Wrap the setting of attributes of data sets, but for Subset's and a DataLoader's own."""
    count = 0

    def make(original: Any) -> Any:
        def setattribute(dataset: Any, name: str, value: Any) -> None:
            nonlocal count
            if watch.listening() and count < MOST and not isinstance(dataset, Subset | DataLoader):
                before = vars(dataset).get(name, watch)
                if before is not watch and before is not value and call_site().file:
                    count += 1
                    watch.add(Replaced(at=watch.now(), where=call_site(), dataset=dataset, name=name, before=before))
            original(dataset, name, value)

        return setattribute

    watch.patch(Dataset, "__setattr__", make)
