"""FastAPI and Pillow, two uvicorn workers: what most people write first."""

from fastapi import FastAPI, Request
from model import Model

app = FastAPI()
model = Model()


@app.get("/ready")
async def ready() -> dict:
    return {"ready": True}


@app.post("/predict")
async def predict(request: Request) -> dict:
    return model.answer(await request.body())
