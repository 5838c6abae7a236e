// A click on a column's head sorts the rows under each heading by its numbers, empty cells last; a second click turns
// it round. A row and the line below it stay together: each is a tbody of its own.
document.querySelectorAll("table").forEach((table) => {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, place) => {
    const sort = () => {
      const down = head.getAttribute("aria-sort") !== "descending";
      heads.forEach((one) => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const groups = [[]];
      for (const body of table.tBodies) {
        if (body.className === "group") groups.push([body]);
        else groups.at(-1).push(body);
      }
      for (const group of groups) {
        const heading = group.length && group[0].className === "group" ? [group.shift()] : [];
        group.sort((a, b) => compare(a, b, place, down));
        table.append(...heading, ...group);
      }
    };
    head.tabIndex = 0;
    head.title = "sort";
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        sort();
      }
    });
  });
});

function compare(a, b, place, down) {
  const [x, y] = [a, b].map((body) => body.rows[0].cells[place]);
  if (place === 0) return (down ? 1 : -1) * x.textContent.localeCompare(y.textContent);
  const [p, q] = [x, y].map((cell) => ("value" in cell.dataset ? Number(cell.dataset.value) : null));
  if (p === null || q === null) return (p === null) - (q === null);
  return (down ? -1 : 1) * (p - q);
}

// What is folded away is printed too.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => (one.open = true)));
