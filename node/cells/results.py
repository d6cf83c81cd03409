"""What a grid run leaves behind when it ends: the best solutions, the scores, pictures."""

from __future__ import annotations

from node.cells.pictures import draw
from node.cells.progress import Progress
from node.runs.run import Run
from node.tasks.workshop import Inline, Workshop
from protocol.errors import NotAvailable


async def sum_up(run: Run, progress: Progress, workshop: Workshop) -> None:
    """The best solutions, rendered and drawn; each is evaluated again here, whoever reported it."""
    rendered: list[tuple[float, str]] = []
    for solution in list(progress.best.values()):
        score = await workshop.check(solution)
        if score > 0.0 or not rendered:
            rendered.append((score, await workshop.render(solution)))
    rendered.sort(key=lambda item: -item[0])
    run.progress.solution = rendered[0][1]
    iterations = progress.infos()
    if isinstance(workshop, Inline):
        return
    run.progress.best = rendered[0][0]
    run.keep("best.json", (rendered[0][1] + "\n").encode())
    lines = [f"{score:.17g}\t{text}" for score, text in rendered]
    run.keep("solutions.txt", ("\n".join(lines) + "\n").encode())
    rows = ["iteration,worst,mean,best", *(f"{one.iteration},{one.worst!r},{one.mean!r},{one.best!r}" for one in iterations)]
    run.keep("scores.csv", ("\n".join(rows) + "\n").encode())
    if run.params["pictures"] == "no":
        return
    try:
        for name, content in (await draw(int(run.params["size"]), iterations, rendered)).items():
            run.keep(name, content)
    except NotAvailable as error:
        run.detail = run.detail or str(error)
