//! The dialects from outside: requests in, bytes out, with a real desk and record behind them and workers that the test plays.
//! What FastAPI answers was asked of FastAPI itself (`tools/fastapi/oracle.py`) and lies in `tests/data`.

mod door;
mod forms;
mod generations;
mod lines;
mod mutated;
mod oracle;
mod stage;
mod talks;
