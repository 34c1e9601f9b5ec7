"""`kopru models …`: which models there are and what each is for."""

from typing import Annotated, Any

import typer

from daemon.cli.options import FAILED, Json, options
from daemon.cli.output import fail, print_json, print_table, say
from runtime import ModelPackage, PackageError

app = typer.Typer(help="Model packages.", no_args_is_help=True)


def _packages(context: typer.Context) -> list[ModelPackage]:
    try:
        return [ModelPackage.load(path) for path in options(context).settings(secrets=False).runtime.packages]
    except PackageError as error:
        fail(str(error))
        raise typer.Exit(FAILED) from None


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
    }


@app.command("list")
def list_models(context: typer.Context, json: Json = False) -> None:
    """List the packages of the settings, each verified against its checksums."""
    rows = [_described(package) for package in _packages(context)]
    if json:
        print_json(rows)
    else:
        columns = ("name", "version", "research_only", "weights_sha256", "intended_use")
        print_table(rows, columns, empty="no models", first_to_go=("weights_sha256",))


@app.command("show")
def show_model(
    context: typer.Context, model: Annotated[str, typer.Argument(help="The package's name.")], json: Json = False
) -> None:
    """Show one package: what it is for, what it was trained on, its labels and thresholds."""
    found = next((p for p in _packages(context) if p.name == model), None)
    if found is None:
        raise typer.BadParameter(
            f"there is no model {model}; `kopru models list` shows those there are", param_hint="MODEL"
        )
    described = _described(found)
    if json:
        print_json(described)
        return
    for key in ("name", "version", "research_only", "intended_use", "training_data", "licence", "weights_sha256"):
        say((key.replace("_", " "), "bold"), f"  {described[key]}")
    print_table(described["labels"], ("name", "system", "code", "threshold"), "Labels")
