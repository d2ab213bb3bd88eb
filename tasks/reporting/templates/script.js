"use strict";
(() => {
  const list = document.getElementById("cards");
  if (!list) return;
  const find = (id) => document.getElementById(id);
  const more = find("more");
  const cards = [...list.children, ...(more ? more.content.children : [])];
  const pageSize = Number(list.dataset.pageSize);
  const pager = find("pager");
  let page = 0;

  const textOf = (card, within) => {
    if (within === "concept") return card.dataset.concept;
    if (within === "trial") return card.querySelector("code").textContent;
    if (within) return [...card.querySelectorAll(`[data-tier="${within}"]`)].map((e) => e.textContent).join(" ");
    return card.textContent;
  };
  const matches = (card) => {
    const wanted = find("search").value.trim().toLowerCase().split(/\s+/);
    const text = textOf(card, find("within").value).toLowerCase();
    const { subject, outcome } = card.dataset;
    return [subject, ""].includes(find("subject").value)
      && [outcome, ""].includes(find("outcome").value)
      && wanted.every((word) => text.includes(word));
  };
  const show = () => {
    const found = cards.filter(matches);
    const pages = Math.max(1, Math.ceil(found.length / pageSize));
    page = Math.min(page, pages - 1);
    list.replaceChildren(...found.slice(page * pageSize, (page + 1) * pageSize));
    find("count").textContent = `${found.length} of ${cards.length} trials`
      + (pages > 1 ? `, page ${page + 1} of ${pages}` : "");
    if (!pager) return;
    pager.hidden = pages < 2;
    find("page").textContent = `Page ${page + 1} of ${pages}`;
    find("previous").disabled = page === 0;
    find("next").disabled = page === pages - 1;
  };
  const turn = (step) => {
    page += step;
    show();
    find("pictures").scrollIntoView();
  };

  find("filters").hidden = find("count").hidden = false;
  find("filters").addEventListener("submit", (event) => event.preventDefault());
  find("filters").addEventListener("input", () => { page = 0; show(); });
  if (pager) {
    find("previous").addEventListener("click", () => turn(-1));
    find("next").addEventListener("click", () => turn(1));
  }
  show();
})();
