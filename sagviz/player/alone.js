// Starts the player on a page of its own, whose address has the view.

const place = document.querySelector(".sagviz-data"), data = JSON.parse(place.textContent);
let resting;
const player = await render(place.previousElementSibling, data, fromAddress(location.hash, data), () => {
  clearTimeout(resting);
  resting = setTimeout(() => history.replaceState(null, "", `#${toAddress(player)}`), REST);
});
addEventListener("hashchange", () => Object.entries(fromAddress(location.hash, data)).forEach(([name, value]) => player.set(name, value)));
addEventListener("beforeprint", () => player.root.querySelector(".settings").setAttribute("open", ""));
