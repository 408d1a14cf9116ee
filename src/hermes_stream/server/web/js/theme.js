// Runs before anything is drawn, so that no page flashes in the wrong light. Without a choice the system's counts.
const chosenTheme = localStorage.getItem("hermes-stream.theme");
if (chosenTheme) document.documentElement.dataset.theme = chosenTheme;
