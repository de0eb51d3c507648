//! The member names of the objects that are open, to tell when one comes twice.

use std::collections::HashSet;

/// Names up to which an object's are compared one by one, which for few is faster than hashing them.
const COMPARED_MAX: usize = 12;

/// Names of all open objects, in one buffer.
#[derive(Debug, Default)]
pub(crate) struct Names {
    bytes: Vec<u8>,
    /// Where each name ends in `bytes`.
    ends: Vec<usize>,
    objects: Vec<Object>,
}

#[derive(Debug)]
struct Object {
    /// How many entries of `ends` belong to the objects outside.
    outside: usize,
    /// All names, once there are many. Keyed by chance, so that nobody can choose names that collide.
    many: Option<HashSet<Box<[u8]>>>,
}

impl Names {
    /// An object begins.
    pub(crate) fn open(&mut self) {
        self.objects.push(Object { outside: self.ends.len(), many: None });
    }

    /// The innermost object ends.
    pub(crate) fn close(&mut self) {
        if let Some(object) = self.objects.pop() {
            self.ends.truncate(object.outside);
            self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
        }
    }

    /// More of the name that is being read.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The name that is being read has ended; false if the object has it already.
    pub(crate) fn end(&mut self) -> bool {
        let Some(object) = self.objects.last_mut() else { return true };
        let start = self.ends.last().copied().unwrap_or(0);
        let name = self.bytes.get(start..).unwrap_or_default();
        let mut from = object.outside.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(0);
        let own = self.ends.get(object.outside..).unwrap_or_default();
        let mut earlier = own.iter().map(|&end| {
            let name = self.bytes.get(from..end).unwrap_or_default();
            from = end;
            name
        });
        let is_new = match &mut object.many {
            Some(many) => many.insert(name.into()),
            None if own.len() < COMPARED_MAX => !earlier.any(|other| other == name),
            None => {
                let mut many: HashSet<Box<[u8]>> = earlier.map(Box::from).collect();
                let is_new = many.insert(name.into());
                object.many = Some(many);
                is_new
            }
        };
        self.ends.push(self.bytes.len());
        is_new
    }

    /// The name that ended last, or that is being read.
    pub(crate) fn last(&self) -> &[u8] {
        let start = self.ends.len().checked_sub(2).and_then(|at| self.ends.get(at)).copied().unwrap_or(0);
        self.bytes.get(start..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_new_once_in_each_object() {
        let mut names = Names::default();
        let add = |names: &mut Names, name: &str| {
            names.push(name.as_bytes());
            let is_new = names.end();
            assert_eq!(names.last(), name.as_bytes());
            is_new
        };
        names.open();
        assert!(add(&mut names, "a"));
        names.open();
        assert!(add(&mut names, "a") && add(&mut names, "") && !add(&mut names, ""));
        for number in 0..40 {
            assert!(add(&mut names, &number.to_string()));
        }
        assert!(!add(&mut names, "39") && !add(&mut names, "0") && !add(&mut names, "a"));
        names.close();
        assert!(add(&mut names, "b") && add(&mut names, "0") && !add(&mut names, "a"));
        names.close();
        names.open();
        assert!(add(&mut names, "a"));
    }
}
