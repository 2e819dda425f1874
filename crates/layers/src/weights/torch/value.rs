//! What a pickle describes, as plain values in one list: no recursion, no references, strings where they lie in the file.

/// A value's place in the heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id(u32);

#[derive(Debug)]
pub(super) enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// One that is no 64-bit integer; nothing about a tensor is.
    Number,
    Text(&'a str),
    /// Bytes, and strings that are not UTF-8.
    Bytes,
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Set,
    Dict(Vec<(Id, Id)>),
    /// A name of a class or a function.
    Global(Box<Global<'a>>),
    /// What a class or a function would make. It is not made.
    Made(Box<Made>),
    /// A storage, by PyTorch's description of it.
    Persistent(Id),
}

#[derive(Debug)]
pub(super) struct Global<'a> {
    pub module: &'a str,
    pub name: &'a str,
}

#[derive(Debug)]
pub(super) struct Made {
    pub by: Id,
    pub args: Id,
    pub items: Vec<Id>,
    pub pairs: Vec<(Id, Id)>,
}

/// The pickles of the published checkpoints have up to some 100,000 values.
const VALUES: usize = 4 << 20;

/// In segments, so that it grows without a copy of itself.
#[derive(Debug, Default)]
pub(super) struct Heap<'a> {
    segments: Vec<Vec<Value<'a>>>,
    len: usize,
}

/// Values in a segment.
const SEGMENT: usize = 1 << 12;

impl<'a> Heap<'a> {
    pub fn add(&mut self, value: Value<'a>) -> Result<Id, String> {
        if self.len >= VALUES {
            return Err(format!("more than {VALUES} values"));
        }
        if self.len.is_multiple_of(SEGMENT) {
            self.segments.push(Vec::new());
        }
        self.segments.last_mut().expect("one was just pushed where there was none").push(value);
        self.len += 1;
        Ok(Id(self.len as u32 - 1))
    }

    pub fn get(&self, id: Id) -> &Value<'a> {
        &self.segments[id.0 as usize / SEGMENT][id.0 as usize % SEGMENT]
    }

    pub fn get_mut(&mut self, id: Id) -> &mut Value<'a> {
        &mut self.segments[id.0 as usize / SEGMENT][id.0 as usize % SEGMENT]
    }

    pub fn iter(&self) -> impl Iterator<Item = &Value<'a>> {
        self.segments.iter().flatten()
    }

    pub fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn int(&self, id: Id) -> Option<i64> {
        match self.get(id) {
            Value::Int(int) => Some(*int),
            _ => None,
        }
    }

    pub fn tuple(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// (module, name)
    pub fn global(&self, id: Id) -> Option<(&str, &str)> {
        match self.get(id) {
            Value::Global(global) => Some((global.module, global.name)),
            _ => None,
        }
    }

    /// What a call would make: (module, name) of what is called, and its arguments.
    pub fn call(&self, id: Id) -> Option<((&str, &str), &[Id])> {
        match self.get(id) {
            Value::Made(made) => Some((self.global(made.by)?, self.tuple(made.args)?)),
            _ => None,
        }
    }

    /// The pairs of a dict, an `OrderedDict` or a `defaultdict`.
    pub fn mapping(&self, id: Id) -> Option<Vec<(Id, Id)>> {
        match self.get(id) {
            Value::Dict(pairs) => Some(pairs.clone()),
            Value::Made(made) => match self.global(made.by)? {
                ("collections", "OrderedDict") => {
                    // Python 2 hands the pairs over as a list of lists
                    let mut pairs = Vec::new();
                    if let &[list] = self.tuple(made.args)? {
                        let Value::List(items) = self.get(list) else { return None };
                        for &item in items {
                            match self.get(item) {
                                Value::List(pair) | Value::Tuple(pair) if pair.len() == 2 => {
                                    pairs.push((pair[0], pair[1]))
                                }
                                _ => return None,
                            }
                        }
                    }
                    pairs.extend_from_slice(&made.pairs);
                    Some(pairs)
                }
                ("collections", "defaultdict") => Some(made.pairs.clone()),
                _ => None,
            },
            _ => None,
        }
    }

    /// For error messages.
    pub fn what(&self, id: Id) -> String {
        match self.get(id) {
            Value::None => "None".into(),
            Value::Bool(b) => format!("the truth value {b}"),
            Value::Int(i) => format!("the number {i}"),
            Value::Number => "a number".into(),
            Value::Text(_) => "a string".into(),
            Value::Bytes => "a string of bytes".into(),
            Value::Tuple(_) => "a tuple".into(),
            Value::List(_) => "a list".into(),
            Value::Set => "a set".into(),
            Value::Dict(_) => "a dict".into(),
            Value::Global(global) => format!("the name {}.{}", global.module, global.name),
            Value::Made(made) => match self.global(made.by) {
                Some((module, name)) => format!("an object of {module}.{name}"),
                None => "an object".into(),
            },
            Value::Persistent(_) => "a bare storage".into(),
        }
    }
}
