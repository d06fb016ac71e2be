"use strict";
const by = (id) => document.getElementById(id);
const PNG = "data:image/png;base64,";

function figure(png, alt, lines, name) {
  const made = document.createElement("figure");
  const image = document.createElement("img");
  image.src = PNG + png;
  image.alt = alt;
  const holder = name ? document.createElement("a") : made;
  if (name) {
    holder.href = image.src;
    holder.download = name;
    holder.title = "Save this picture";
    made.append(holder);
  }
  holder.append(image);
  const caption = document.createElement("figcaption");
  caption.textContent = lines;
  made.append(caption);
  return made;
}

function show(answer, asked) {
  const results = by("results");
  results.replaceChildren();
  answer.pictures.forEach((picture, index) => {
    const card = by("picture").content.cloneNode(true);
    const title = `${asked.prompt} \u00b7 seed ${asked.seed}, picture ${index + 1}`;
    card.querySelector("h2").textContent = title;
    for (const stage of answer.stages) {
      const label = `${stage.name}, ${stage.size_px} px`;
      const file = `seed${asked.seed}-${index}-${stage.name}.png`;
      card.querySelector(".stages").append(figure(picture.pixels[stage.name], `${asked.prompt}: ${label}`, label, file));
      card.querySelector(".strips").append(
        figure(picture.strips[stage.name], `${label}: from noise to picture`, `${stage.name}: noise to picture`));
    }
    for (const near of picture.nearest) {
      const label = `${near.caption} (distance ${near.distance.toFixed(2)})`;
      card.querySelector(".neighbours").append(figure(near.png, near.caption, label));
    }
    card.querySelector(".near h3").textContent = answer.num_training
      ? `Nearest of ${answer.num_training.toLocaleString("en")} training pictures (distance 0 is a copy)`
      : "No training pictures here to compare with";
    results.append(card);
  });
}

async function ask(path, options) {
  const answer = await fetch(path, options);
  const told = await answer.json().catch(() => ({ error: `the server answered ${answer.status}` }));
  if (!answer.ok) throw new Error(told.error || `the server answered ${answer.status}`);
  return told;
}

function request() {
  const asked = {
    model: by("model").value,
    prompt: by("prompt").value.trim(),
    negative_prompt: by("negative").value.trim(),
    seed: Number(by("seed").value),
    num_images: Number(by("number").value),
  };
  if (by("steps").value) asked.steps = Number(by("steps").value);
  if (by("guidance").value) asked.guidance_scale = Number(by("guidance").value);
  return asked;
}

async function draw() {
  const asked = request();
  const start = performance.now();
  const seconds = () => `${((performance.now() - start) / 1000).toFixed(1)} s`;
  const clock = setInterval(() => { by("status").textContent = `drawing, ${seconds()}`; }, 100);
  by("problem").textContent = "";
  by("draw").disabled = by("next").disabled = true;
  try {
    const headers = { "Content-Type": "application/json" };
    show(await ask("api/draw", { method: "POST", headers, body: JSON.stringify(asked) }), asked);
    by("status").textContent = `drawn in ${seconds()}`;
  } catch (error) {
    by("problem").textContent = error.message;
    by("status").textContent = "";
  } finally {
    clearInterval(clock);
    by("draw").disabled = by("next").disabled = false;
  }
}

async function start() {
  by("form").addEventListener("submit", (event) => { event.preventDefault(); draw(); });
  by("next").addEventListener("click", () => {
    by("seed").value = Number(by("seed").value) + 1;
    if (by("form").reportValidity()) draw();
  });
  try {
    const { models, limits } = await ask("api/models");
    for (const model of models) by("model").add(new Option(model.title, model.key));
    by("prompt").maxLength = by("negative").maxLength = limits.prompt;
    by("number").max = limits.pictures;
    by("seed").max = limits.seed;
    by("steps").max = limits.steps;
    by("guidance").max = limits.guidance;
  } catch (error) {
    by("problem").textContent = error.message;
  }
}

start();
