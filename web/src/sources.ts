/** Where photos come from: chosen, taken, pasted, dropped, and the example. */

/** Tell `show` of every photo that somebody brings, and `fail` why there is none. */
export function watchSources(
  show: (file: Blob, name: string) => void,
  fail: (text: string) => void,
): void {
  document.getElementById("example")?.addEventListener("click", async () => {
    try {
      const response = await fetch("example.jpg");
      if (!response.ok) throw new Error(`example.jpg answered ${response.status}`);
      show(await response.blob(), "crowd.jpg");
    } catch (error) {
      fail(`The example could not be loaded: ${(error as Error).message}`);
    }
  });

  for (const input of document.querySelectorAll<HTMLInputElement>("input[type=file]")) {
    input.addEventListener("change", () => {
      const [file] = input.files ?? [];
      if (file) show(file, file.name);
      input.value = "";
    });
  }

  addEventListener("paste", ({ clipboardData }) => {
    const [file] = clipboardData?.files ?? [];
    if (file) show(file, file.name || "pasted");
  });

  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("over");
  });

  addEventListener("dragleave", ({ relatedTarget }) => {
    if (!relatedTarget) document.body.classList.remove("over");
  });

  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("over");
    const [file] = event.dataTransfer?.files ?? [];
    if (file) show(file, file.name);
    else fail("That is no file: save the picture first, then drop it here");
  });
}
