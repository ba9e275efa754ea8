"use strict";
// What a person says of an answer: a label that the model knows, or for each box or class whether it is right.

const MANY = 15;

function fillChoice(labels) {
  const many = labels.length > MANY, wanted = $("find-label").value.trim().toLowerCase();
  $("find-label").parentElement.hidden = !many;
  const shown = many && wanted ? labels.filter((l) => l.toLowerCase().includes(wanted)) : labels;
  $("true-label").replaceChildren(make("option", { value: "", text: "choose …" }), ...shown.map((l) => make("option", { value: l, text: l })));
  if (many && wanted && shown.length) $("true-label").value = shown[0];
}

function judgedRows(a) {
  const rows = shownRows(a, threshold(), model(a.model).thresholds);
  return a.task === "segment" ? rows.filter((k) => !isBackground(a.labels[k])) : rows;
}

function offerFeedback(a) {
  const classes = a.task === "classify";
  $("say-label").hidden = !classes; $("say-rows").hidden = classes;
  if (classes) return;
  const shot = state.shot;
  shot.judged = shot.judged || {};
  const known = shot.judged[a.prediction_id] = shot.judged[a.prediction_id] || {};
  $("rows").replaceChildren(...judgedRows(a).map((k) => {
    const verdict = make("select", { "aria-label": `${a.labels[k]} ${k + 1}: verdict` });
    const choices = a.task === "segment" ? [["right", "right"], ["wrong", "wrong"]] : [["right", "right"], ["wrong_label", "wrong label"], ["false_alarm", "false alarm"]];
    verdict.append(...choices.map(([value, text]) => make("option", { value, text })));
    const label = make("select", { "aria-label": `${a.labels[k]} ${k + 1}: it is` });
    label.append(...model(a.model).labels.map((l) => make("option", { value: l, text: l })));
    const held = known[k] = known[k] || { verdict: "right", label: a.labels[k] };
    verdict.value = held.verdict; label.value = held.label; label.hidden = held.verdict !== "wrong_label";
    verdict.addEventListener("change", () => { held.verdict = verdict.value; label.hidden = held.verdict !== "wrong_label"; });
    label.addEventListener("change", () => { held.label = label.value; });
    return make("li", {}, `${a.labels[k]} `, verdict, " ", label);
  }));
}

function rowsContent(a) {
  const known = state.shot.judged[a.prediction_id], rows = judgedRows(a);
  if (a.task === "segment") {
    const classes = Object.fromEntries(rows.map((k) => [a.labels[k], known[k].verdict === "right"]));
    return { classes, correct: Object.values(classes).every(Boolean) };
  }
  const objects = rows.map((k) => {
    const { verdict, label } = known[k];
    const one = { label: verdict === "wrong_label" ? label : a.labels[k], box_xyxy: a.boxes_xyxy[k], verdict, predicted: a.labels[k] };
    return a.segmentations ? { ...one, segmentation: a.segmentations[k] } : one;
  });
  return { objects, correct: objects.every((o) => o.verdict === "right") };
}

function sendRows() {
  const a = state.shot && state.shot.answers[$("model").value];
  if (a) feedback(rowsContent(a));
}

function sayRight() {
  const a = state.shot && state.shot.answers[$("model").value];
  if (!a) return;
  if (a.task === "classify") { feedback({ correct: true }); return; }
  for (const k of judgedRows(a)) state.shot.judged[a.prediction_id][k] = { verdict: "right", label: a.labels[k] };
  offerFeedback(a);
  sendRows();
}
