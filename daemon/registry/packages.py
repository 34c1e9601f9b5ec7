"""The packages of one model that this process has, found by what the registry says of a version."""

from collections.abc import Mapping
from dataclasses import dataclass

from daemon.registry.errors import NotServed
from daemon.registry.stages import Version
from daemon.registry.versions import package_sha256
from runtime import ModelPackage


@dataclass(frozen=True)
class Packages:
    """`by_version` is in the order of the settings."""

    model: str
    by_version: Mapping[str, ModelPackage]

    def of(self, version: Version) -> ModelPackage:
        """The very package that was registered as this version. Raises `NotServed` where it is not here, or another
        one has taken its name and version.
        """
        package = self.by_version.get(version.version)
        if package is None:
            raise NotServed(f"the package of {version} is not among runtime.packages; name it there again")
        if package_sha256(package) != version.package_sha256:
            raise NotServed(f"the package of {version} is not the one that was registered; give it another version")
        return package
