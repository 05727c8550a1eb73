// The drawing area. What is drawn is sent as if it were an uploaded picture.
"use strict";

const form = document.getElementById("drawing");
const canvas = form.querySelector("canvas");
const file = form.querySelector("input");
const pen = canvas.getContext("2d");

function clear() {
  pen.fillStyle = "white";
  pen.fillRect(0, 0, canvas.width, canvas.height);
}

// The answer is another page, which shows the same drawing again, to continue it.
const kept = "drawing";

function restore() {
  const drawing = sessionStorage.getItem(kept);
  if (!drawing) return;
  const image = new Image();
  image.onload = () => pen.drawImage(image, 0, 0);
  image.src = drawing;
}

// The canvas may be shown smaller than it is.
function place(event) {
  const box = canvas.getBoundingClientRect();
  return [
    ((event.clientX - box.left) * canvas.width) / box.width,
    ((event.clientY - box.top) * canvas.height) / box.height,
  ];
}

function draw(event) {
  pen.lineTo(...place(event));
  pen.stroke();
}

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  pen.lineWidth = 24;
  pen.lineCap = "round";
  pen.lineJoin = "round";
  pen.beginPath();
  pen.moveTo(...place(event));
  draw(event);
});

canvas.addEventListener("pointermove", (event) => {
  if (canvas.hasPointerCapture(event.pointerId)) draw(event);
});

form.addEventListener("reset", () => {
  sessionStorage.removeItem(kept);
  clear();
});

form.addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(kept, canvas.toDataURL());
  canvas.toBlob((blob) => {
    const files = new DataTransfer();
    files.items.add(new File([blob], "drawing.png", { type: "image/png" }));
    file.files = files.files;
    form.submit();
  });
});

clear();
restore();
form.hidden = false;
