//! Reads a pickle of protocols 0 to 5 (Python's `pickletools` is the reference of the opcodes) into plain values. Nothing is imported,
//! called or constructed: a call becomes the note that it was to be made. No length in the file is trusted before as many bytes
//! are there, the memo is a map, and nothing here recurses.

use std::collections::HashMap;

use super::value::{Global, Heap, Id, Made, Value};

/// The heap, its root, and how many bytes the pickle took.
pub(super) fn read(bytes: &[u8]) -> Result<(Heap<'_>, Id, usize), String> {
    let mut heap = Heap::default();
    let (root, end) = read_into(&mut heap, bytes)?;
    Ok((heap, root, end))
}

/// As `read`, into a heap that holds something already.
pub(super) fn read_into<'a>(heap: &mut Heap<'a>, bytes: &'a [u8]) -> Result<(Id, usize), String> {
    let mut machine =
        Machine { heap, bytes, at: 0, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    loop {
        let opcode_at = machine.at;
        let [opcode] = machine.array()?;
        match machine.step(opcode) {
            Ok(None) => {}
            Ok(Some(root)) => return Ok((root, machine.at)),
            Err(why) => return Err(format!("its pickle at byte {opcode_at}: {why}")),
        }
    }
}

struct Machine<'h, 'a> {
    heap: &'h mut Heap<'a>,
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'_, 'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(n).filter(|&end| end <= self.bytes.len());
        let end =
            end.ok_or_else(|| format!("{n} bytes are announced, {} are left", self.bytes.len() - self.at))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        Ok(self.take(N)?.try_into().expect("take gives as many bytes as it is asked for"))
    }

    /// Up to and without the next newline.
    fn line(&mut self) -> Result<&'a [u8], String> {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|&b| b == b'\n').ok_or("a line without an end")?;
        self.at += len + 1;
        Ok(&rest[..len])
    }

    fn line_text(&mut self) -> Result<&'a str, String> {
        std::str::from_utf8(self.line()?).map_err(|_| "a name that is not UTF-8".to_owned())
    }

    /// A block whose length is written in `N` bytes before it.
    fn block<const N: usize>(&mut self) -> Result<&'a [u8], String> {
        let mut wide = [0; 8];
        wide[..N].copy_from_slice(&self.array::<N>()?);
        let len = u64::from_le_bytes(wide);
        self.take(usize::try_from(len).map_err(|_| format!("{len} bytes are announced"))?)
    }

    fn push(&mut self, value: Value<'a>) -> Result<(), String> {
        let id = self.heap.add(value)?;
        self.stack.push(id);
        Ok(())
    }

    fn text(&mut self, bytes: &'a [u8]) -> Result<(), String> {
        self.push(std::str::from_utf8(bytes).map_or(Value::Bytes, Value::Text))
    }

    fn pop(&mut self) -> Result<Id, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("nothing is left on its stack".into());
        }
        Ok(self.stack.pop().expect("the stack is higher than its floor"))
    }

    fn top(&self) -> Result<Id, String> {
        self.stack.last().copied().ok_or_else(|| "nothing is on its stack".into())
    }

    fn since_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or("no mark is on its stack")?;
        Ok(self.stack.split_off(mark))
    }

    fn remember(&mut self, place: u32) -> Result<(), String> {
        let top = self.top()?;
        self.memo.insert(place, top);
        Ok(())
    }

    fn recall(&mut self, place: u32) -> Result<(), String> {
        let id = *self.memo.get(&place).ok_or_else(|| format!("memo {place} was never set"))?;
        self.stack.push(id);
        Ok(())
    }

    fn make(&mut self, by: Id, args: Id) -> Result<(), String> {
        self.push(Value::Made(Box::new(Made { by, args, items: Vec::new(), pairs: Vec::new() })))
    }

    fn append(&mut self, items: &[Id]) -> Result<(), String> {
        let top = self.top()?;
        match self.heap.get_mut(top) {
            Value::List(list) => list.extend_from_slice(items),
            Value::Made(made) => made.items.extend_from_slice(items),
            _ => return Err(format!("items are to go into {}", self.heap.what(top))),
        }
        Ok(())
    }

    fn set(&mut self, flat: &[Id]) -> Result<(), String> {
        let (pairs, odd) = flat.as_chunks::<2>();
        if !odd.is_empty() {
            return Err("a key without a value".into());
        }
        let top = self.top()?;
        let into = match self.heap.get_mut(top) {
            Value::Dict(into) => into,
            Value::Made(made) => &mut made.pairs,
            _ => return Err(format!("keys and values are to go into {}", self.heap.what(top))),
        };
        into.extend(pairs.iter().map(|&[key, value]| (key, value)));
        Ok(())
    }

    /// Two's complement of any length.
    fn long(&mut self, bytes: &'a [u8]) -> Result<(), String> {
        if bytes.len() > 8 {
            return self.push(Value::Number);
        }
        let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
        let mut wide = [if negative { 0xFF } else { 0 }; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        self.push(Value::Int(i64::from_le_bytes(wide)))
    }

    fn decimal(&mut self, text: &str) -> Result<(), String> {
        let digits = text.trim().trim_end_matches('L');
        match digits.parse() {
            Ok(int) => self.push(Value::Int(int)),
            Err(_) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit() || b == b'-') => {
                self.push(Value::Number)
            }
            Err(_) => Err(format!("`{digits}` is not a number")),
        }
    }

    /// The root, when the pickle ends.
    fn step(&mut self, opcode: u8) -> Result<Option<Id>, String> {
        match opcode {
            b'.' => return self.pop().map(Some),
            0x80 => {
                let [protocol] = self.array()?;
                if protocol > 5 {
                    return Err(format!("protocol {protocol}; the last one known is 5"));
                }
            }
            0x95 => {
                self.array::<8>()?; // a frame's length: a hint for readers of streams
            }
            b'(' => self.marks.push(self.stack.len()),
            b'0' => match self.marks.last() {
                Some(&mark) if mark == self.stack.len() => {
                    self.marks.pop();
                }
                _ => {
                    self.pop()?;
                }
            },
            b'1' => {
                self.since_mark()?;
            }
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'N' | 0x88 | 0x89 | b'I' | b'J' | b'K' | b'M' | b'L' | 0x8a | 0x8b | b'F' | b'G' => {
                self.number(opcode)?
            }
            b'S' | b'V' | b'T' | b'U' | b'X' | 0x8c | 0x8d | b'B' | b'C' | 0x8e | 0x96 => {
                self.string(opcode)?
            }
            b')'
            | 0x85..=0x87
            | b't'
            | b']'
            | b'l'
            | b'a'
            | b'e'
            | b'}'
            | b'd'
            | b's'
            | b'u'
            | 0x8f..=0x91 => self.collection(opcode)?,
            b'g' | b'h' | b'j' | b'p' | b'q' | b'r' | 0x94 => self.memory(opcode)?,
            b'c' | 0x93 | b'R' | b'b' | 0x81 | 0x92 | b'i' | b'o' | b'P' | b'Q' => self.object(opcode)?,
            0x82..=0x84 => return Err("an extension code, which only the program that wrote it knows".into()),
            0x97 | 0x98 => return Err("a buffer outside the pickle".into()),
            other => return Err(format!("opcode {other:#04x} is not known")),
        }
        Ok(None)
    }

    fn number(&mut self, opcode: u8) -> Result<(), String> {
        match opcode {
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'I' => match self.line_text()? {
                "00" => self.push(Value::Bool(false)),
                "01" => self.push(Value::Bool(true)),
                text => self.decimal(text),
            },
            b'J' => {
                let int = i32::from_le_bytes(self.array()?);
                self.push(Value::Int(int.into()))
            }
            b'K' => {
                let [int] = self.array()?;
                self.push(Value::Int(int.into()))
            }
            b'M' => {
                let int = u16::from_le_bytes(self.array()?);
                self.push(Value::Int(int.into()))
            }
            b'L' => {
                let text = self.line_text()?;
                self.decimal(text)
            }
            0x8a => {
                let bytes = self.block::<1>()?;
                self.long(bytes)
            }
            0x8b => {
                let bytes = self.block::<4>()?;
                self.long(bytes)
            }
            b'F' => {
                self.line()?;
                self.push(Value::Number)
            }
            _ => {
                self.array::<8>()?;
                self.push(Value::Number)
            }
        }
    }

    fn string(&mut self, opcode: u8) -> Result<(), String> {
        match opcode {
            b'S' | b'V' => {
                let line = self.line_text()?;
                let quoted = |q: char| line.strip_prefix(q).and_then(|l| l.strip_suffix(q));
                let text = if opcode == b'V' { Some(line) } else { quoted('\'').or_else(|| quoted('"')) };
                // escapes never occur in the names of tensors; what has one is no name
                match text.filter(|text| !text.contains('\\')) {
                    Some(text) => self.push(Value::Text(text)),
                    None => self.push(Value::Bytes),
                }
            }
            b'T' | b'X' => {
                let bytes = self.block::<4>()?;
                self.text(bytes)
            }
            b'U' | 0x8c => {
                let bytes = self.block::<1>()?;
                self.text(bytes)
            }
            0x8d => {
                let bytes = self.block::<8>()?;
                self.text(bytes)
            }
            b'B' => self.block::<4>().and_then(|_| self.push(Value::Bytes)),
            b'C' => self.block::<1>().and_then(|_| self.push(Value::Bytes)),
            _ => self.block::<8>().and_then(|_| self.push(Value::Bytes)),
        }
    }

    fn collection(&mut self, opcode: u8) -> Result<(), String> {
        match opcode {
            b')' => self.push(Value::Tuple(Vec::new())),
            0x85..=0x87 => {
                let mut items = Vec::with_capacity(3);
                for _ in 0x84..opcode {
                    items.push(self.pop()?);
                }
                items.reverse();
                self.push(Value::Tuple(items))
            }
            b't' => {
                let items = self.since_mark()?;
                self.push(Value::Tuple(items))
            }
            b']' => self.push(Value::List(Vec::new())),
            b'l' => {
                let items = self.since_mark()?;
                self.push(Value::List(items))
            }
            b'a' => {
                let item = self.pop()?;
                self.append(&[item])
            }
            b'e' => {
                let items = self.since_mark()?;
                self.append(&items)
            }
            b'}' => self.push(Value::Dict(Vec::new())),
            b'd' => {
                let flat = self.since_mark()?;
                self.push(Value::Dict(Vec::new()))?;
                self.set(&flat)
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])
            }
            b'u' => {
                let flat = self.since_mark()?;
                self.set(&flat)
            }
            0x8f => self.push(Value::Set),
            0x90 => {
                self.since_mark()?;
                let top = self.top()?;
                match self.heap.get(top) {
                    Value::Set => Ok(()),
                    _ => Err(format!("items of a set are to go into {}", self.heap.what(top))),
                }
            }
            _ => {
                self.since_mark()?;
                self.push(Value::Set)
            }
        }
    }

    fn memory(&mut self, opcode: u8) -> Result<(), String> {
        let place = match opcode {
            b'g' | b'p' => {
                let text = self.line_text()?;
                text.parse().map_err(|_| format!("`{text}` is no place in the memo"))?
            }
            b'h' | b'q' => {
                let [place] = self.array()?;
                place.into()
            }
            b'j' | b'r' => u32::from_le_bytes(self.array()?),
            _ => u32::try_from(self.memo.len()).map_err(|_| "its memo is full")?,
        };
        if matches!(opcode, b'g' | b'h' | b'j') { self.recall(place) } else { self.remember(place) }
    }

    fn object(&mut self, opcode: u8) -> Result<(), String> {
        match opcode {
            b'c' => {
                let (module, name) = (self.line_text()?, self.line_text()?);
                self.push(Value::Global(Box::new(Global { module, name })))
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (self.heap.get(module), self.heap.get(name)) {
                    (&Value::Text(module), &Value::Text(name)) => {
                        self.push(Value::Global(Box::new(Global { module, name })))
                    }
                    _ => Err("a name that is not a string".into()),
                }
            }
            b'R' | 0x81 => {
                let (args, by) = (self.pop()?, self.pop()?);
                self.make(by, args)
            }
            0x92 => {
                let (_, args, by) = (self.pop()?, self.pop()?, self.pop()?);
                self.make(by, args)
            }
            b'b' => {
                self.pop()?; // the state of an object: attributes, never items
                let top = self.top()?;
                match self.heap.get(top) {
                    Value::Made(_) => Ok(()),
                    _ => Err(format!("a state is to go into {}", self.heap.what(top))),
                }
            }
            b'i' => {
                let (module, name) = (self.line_text()?, self.line_text()?);
                let args = self.since_mark()?;
                let args = self.heap.add(Value::Tuple(args))?;
                let by = self.heap.add(Value::Global(Box::new(Global { module, name })))?;
                self.make(by, args)
            }
            b'o' => {
                let mut items = self.since_mark()?;
                if items.is_empty() {
                    return Err("an object without a class".into());
                }
                let by = items.remove(0);
                let args = self.heap.add(Value::Tuple(items))?;
                self.make(by, args)
            }
            b'P' => {
                let text = self.line_text()?;
                let id = self.heap.add(Value::Text(text))?;
                self.push(Value::Persistent(id))
            }
            _ => {
                let id = self.pop()?;
                self.push(Value::Persistent(id))
            }
        }
    }
}
