"""`kopru models …`: which models there are and what each is for; making, signing and sealing packages."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from adapters.keys import KeyStoreError
from daemon.cli import model_drift, model_news2, model_routes, model_versions
from daemon.cli.options import FAILED, Json, options
from daemon.cli.output import cell, fail, print_json, print_table, say
from daemon.control import ControlError
from daemon.models import admission, site_key
from daemon.registry import package_sha256
from daemon.settings.defaults import bundled_packages
from runtime import ModelPackage, PackageError, RuntimeFailure

app = typer.Typer(help="Model packages.", no_args_is_help=True)
app.add_typer(model_versions.app)
app.add_typer(model_drift.app)
app.add_typer(model_routes.app)
app.add_typer(model_news2.app)

_DETAILS = ("name", "version", "intended_use", "licence", "training_data")


def _packages(context: typer.Context) -> list[ModelPackage]:
    try:
        settings = options(context).settings(secrets=False)
        admitted = admission(settings, opens_sealed=False)
        return [ModelPackage.load(path, admitted) for path in settings.runtime.packages]
    except PackageError as error:
        raise _failed(error) from None


def _failed(error: Exception) -> typer.Exit:
    fail(str(error))
    return typer.Exit(FAILED)


def _described(package: ModelPackage) -> dict[str, Any]:
    return {
        "name": package.name,
        "version": package.version,
        "research_only": package.research_only,
        "intended_use": package.intended_use,
        "training_data": package.training_data,
        "licence": package.licence,
        "weights_sha256": package.weights_sha256,
        "labels": [
            {"name": label.name, "system": label.system, "code": label.code, "threshold": label.threshold}
            for label in package.labels
        ],
        "signed_by": package.signed_by,
        "sealed": package.sealed,
        "metrics": package.metrics,
        "directory": str(package.directory),
    }


def _registered(context: typer.Context) -> list[dict[str, Any]]:
    """The versions that the daemon's registry knows; none where no daemon answers."""
    try:
        return list(options(context).daemon().ask("models.versions"))
    except ControlError:
        return []


def _staged(packages: list[ModelPackage], known: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The packages with the stage that the registry gives each; None for one that it does not know."""
    stages = {(row["name"], row["version"], row["package_sha256"]): row["stage"] for row in known}
    return [
        _described(package) | {"stage": stages.get((package.name, package.version, package_sha256(package)))}
        for package in packages
    ]


@app.command("list")
def list_models(context: typer.Context, json: Json = False) -> None:
    """List the packages of the settings, each verified against its checksums, with its stage while the daemon runs.

    Names what the registry knows and the settings do not have.
    """
    packages, known = _packages(context), _registered(context)
    rows = _staged(packages, known)
    if json:
        print_json(rows)
        return
    columns = ("name", "version", "stage", "research_only", "weights_sha256", "intended_use")
    print_table(rows, columns, empty="no models", first_to_go=("weights_sha256",))
    here = {package_sha256(package) for package in packages}
    for row in known:
        if row["package_sha256"] not in here:
            style = "bold yellow" if row["stage"] == "production" else "dim"
            say((f"{row['name']} {row['version']} ({row['stage']}): its package is not in runtime.packages", style))


@app.command("show")
def show_model(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="The package's name, or its folder.")],
    json: Json = False,
) -> None:
    """Show one package: its stage, what it is for, what it was trained on, measures, routes, files, labels.

    Of several versions, the one in production.
    """
    of_name = _of_name(context, model)
    staged = list(zip(of_name, _staged(of_name, _registered(context)), strict=True))
    found, described = next((pair for pair in staged if pair[1]["stage"] == "production"), staged[0])
    described |= {"routes": [route.model_dump(mode="json") for route in found.chosen_routes], "files": found.files}
    if json:
        print_json(described)
        return
    for key in (
        "name",
        "version",
        "stage",
        "research_only",
        "intended_use",
        "training_data",
        "licence",
        "weights_sha256",
    ):
        say((key.replace("_", " "), "bold"), "  ", cell(key, described[key]))
    say(("signed by", "bold"), f"  {found.signed_by or 'nobody'}")
    for name, value in found.metrics.items():
        say((name, "bold"), f"  {value:g}")
    print_table(described["routes"], ("on", "precision", "file", "min_samples", "max_samples"), "Routes")
    print_table([{"file": name, "sha256": digest} for name, digest in found.files.items()], ("file", "sha256"), "Files")
    print_table(described["labels"], ("name", "system", "code", "threshold"), "Labels")


def _of_name(context: typer.Context, model: str) -> list[ModelPackage]:
    """The packages of that name in the settings, else the one in that folder. Raises `typer.BadParameter`."""
    folder = Path(model)
    if folder.is_dir():
        try:
            settings = options(context).settings(secrets=False)
            return [ModelPackage.load(folder, admission(settings, opens_sealed=False))]
        except PackageError as error:
            raise _failed(error) from None
    of_name = [package for package in _packages(context) if package.name == model]
    if not of_name:
        raise typer.BadParameter(
            f"there is no model {model}, and no such folder; `kopru models list` shows those there are",
            param_hint="MODEL",
        )
    return of_name


@app.command("import")
def import_(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            help="An .onnx, .pt2, .ts or .pt file, a MONAI bundle, a package or the name of one that comes with kopru,"
            " or the URL of a model on a server."
        ),
    ],
    into: Annotated[Path, typer.Option(help="The folder of packages; NAME-VERSION is made in it.")],
    describe: Annotated[
        Path | None, typer.Option(help="A TOML file with keys of model.toml: labels, preprocessing …", dir_okay=False)
    ] = None,
    name: Annotated[str | None, typer.Option(help="The package's name.")] = None,
    version: Annotated[str | None, typer.Option(help="The package's version.")] = None,
    intended_use: Annotated[str | None, typer.Option(help="What it is for, and what not.")] = None,
    licence: Annotated[str | None, typer.Option(help="The licence of the weights.")] = None,
    training_data: Annotated[str | None, typer.Option(help="What it was trained on.")] = None,
    encrypt: Annotated[bool, typer.Option("--encrypt", help="Seal it under this installation's master key.")] = False,
    token_file: Annotated[Path | None, typer.Option(help="A file with the server's bearer token.")] = None,
    authorities: Annotated[Path | None, typer.Option(help="The authorities (PEM) to trust for the server.")] = None,
    json: Json = False,
) -> None:
    """Make a package of a model that someone else made: it is run once, and what it takes and gives is recorded.

    PyTorch's files are programs: import only those of makers whom you trust.
    """
    from runtime.backend import RemoteAccess
    from runtime.importing import import_model
    from runtime.package.toml import parse_toml

    said = dict(zip(_DETAILS, (name, version, intended_use, licence, training_data), strict=True))
    try:
        token = token_file.read_text(encoding="ascii").strip() if token_file else None
        access = RemoteAccess(bearer_token=token, authorities=authorities)
    except ValueError:  # its own, or of a character beyond ASCII: both could quote the token
        raise typer.BadParameter("holds no token: one word of printable ASCII", param_hint="--token-file") from None
    try:
        settings = options(context).settings(secrets=False)
        details = parse_toml(describe, describe.read_bytes()) if describe else {}
        package = import_model(
            _source(source),
            into,
            {**details, **{key: value for key, value in said.items() if value is not None}},
            details_folder=describe.parent if describe else None,
            site_key=site_key(settings) if encrypt else None,
            # What is copied may be signed afterwards; it is not served before.
            admission=replace(admission(settings, opens_sealed=encrypt), require_signatures=False),
            access=access,
        )
    except (RuntimeFailure, KeyStoreError) as error:
        raise _failed(error) from None
    if json:
        print_json(_described(package))
        return
    say(f"{package.directory}: {package.name} {package.version}", " (sealed)" if package.sealed else "")
    for kind, specs in (("takes", package.inputs), ("gives", package.outputs)):
        for spec in specs:
            say(f"  {kind} {spec.name}: {spec.dtype} {list(spec.shape)}")
    if package.check is None:
        say("It has no [check]: what it gives for made-up numbers is not finite, or too large to be kept.")
        say("So nothing will prove before it serves that a machine answers as this one did.")
    if settings.runtime.require_signatures and package.signed_by is None:
        say(f"Sign it with `kopru models sign {package.directory} --key FILE`: only signed packages are served here.")
    say("Name it in runtime.packages to serve it.")


def _source(text: str) -> Path | str:
    """Where a model is imported from: a URL, a path, or the package of that name that comes with kopru."""
    if "://" in text:
        return text
    path = Path(text)
    return path if path.exists() else bundled_packages().get(text, path)


@app.command("keygen")
def keygen(
    out: Annotated[Path, typer.Argument(help="The file of the private key; FILE.pub gets the public one.")],
) -> None:
    """Make a key pair to sign packages with. The private key stays with whoever vouches for models."""
    from runtime.package.signing import make_keys

    public = make_keys(out)
    say(f"{public}: name it in runtime.trusted_keys where packages are served; keep {out} to yourself")


@app.command("sign")
def sign(
    context: typer.Context,
    package: Annotated[Path, typer.Argument(help="The package's folder.", exists=True, file_okay=False)],
    key: Annotated[Path, typer.Option(help="The private key (PEM).", exists=True, dir_okay=False)],
) -> None:
    """Check a package and sign it, in the place of any signature it has."""
    from runtime.package import Admission, sign_package
    from runtime.package.signing import read_private_key

    try:
        settings = options(context).settings(secrets=False)
        signer = sign_package(package, read_private_key(key), Admission(site_key=lambda: site_key(settings)))
    except (PackageError, KeyStoreError) as error:
        raise _failed(error) from None
    say(f"{package}: signed by {signer}")
