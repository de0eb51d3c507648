//! The locks on calls of tools: which tool is called decides which schemas bind, and a call that nobody offered breaks them all.

use super::{Desk, Locks};
use crate::guard::judge::Block;
use crate::guard::locked::{LockedText, State, Whose};
use crate::guard::schema::{Scope, breach_of};

impl Locks {
    /// The text at `at` is the arguments of `tool`.
    pub(super) fn call(&mut self, at: usize, tool: &str, desk: &mut Desk<'_>) -> Result<(), Block> {
        let Some(text) = self.texts.get_mut(at) else { return Ok(()) };
        match &text.whose {
            Whose::Tool(known) if known == tool => return Ok(()),
            Whose::SomeTool => text.whose = Whose::Tool(tool.to_owned()),
            // The name goes on when the arguments have begun: clients that read it whole call another tool.
            Whose::Tool(_) | Whose::Content => return self.refuse_tool(at, desk),
        }
        let mut schemas = Vec::new();
        let mut unknown = false;
        for (binding, bound) in self.bindings.iter().enumerate() {
            let Scope::Tools(tools) = &bound.scope else { continue };
            match tools.by_name.get(tool) {
                Some(of_tool) => schemas.extend(of_tool.iter().map(|schema| (binding, schema.clone()))),
                None => unknown = true,
            }
        }
        if unknown {
            self.refuse_tool(at, desk)?;
        }
        for (binding, schema) in schemas {
            self.add(at, binding, schema, desk.report);
        }
        let waiting = self.texts.get_mut(at).map(|text| {
            text.fed = 0;
            std::mem::take(&mut text.text)
        });
        let waiting = waiting.unwrap_or_default();
        self.kept -= waiting.len().min(self.kept);
        if waiting.is_empty() { Ok(()) } else { self.take(at, &waiting, desk) }
    }

    /// A call of a tool that was not offered breaks every schema that would have bound it.
    pub(super) fn refuse_tool(&mut self, at: usize, desk: &mut Desk<'_>) -> Result<(), Block> {
        let choice = self.texts.get(at).and_then(LockedText::choice);
        self.refuse(choice, desk)?;
        for one in self.texts.get_mut(at).into_iter().flat_map(|text| &mut text.locks) {
            one.state = State::Waived;
        }
        Ok(())
    }

    /// A call of which nobody can say what it calls.
    pub(in crate::guard) fn refuse_call(&mut self, desk: &mut Desk<'_>) -> Result<(), Block> {
        self.refuse(None, desk)
    }

    fn refuse(&mut self, choice: Option<u64>, desk: &mut Desk<'_>) -> Result<(), Block> {
        let of_tools = self.bindings.iter().filter_map(|bound| match &bound.scope {
            Scope::Tools(tools) => Some((bound.id.clone(), tools.digest.clone(), bound.terms.choices)),
            Scope::Content(_) => None,
        });
        for (id, digest, choices) in of_tools.collect::<Vec<_>>() {
            desk.report.schema.checked.insert((id.clone(), digest.clone()));
            self.cure.take([None]);
            if let Some(block) = desk.judge.schema(&breach_of(&id, &digest, "schema", "tool", 0)) {
                return self.end_or_block(choice, choices, block, desk);
            }
        }
        Ok(())
    }

    /// The name of the tool that is called at `place` has become known, or has gone on.
    pub(in crate::guard) fn named(
        &mut self,
        place: &str,
        tool: Option<&str>,
        desk: &mut Desk<'_>,
    ) -> Result<(), Block> {
        let Some(tool) = tool else { return Ok(()) };
        for at in 0..self.texts.len() {
            let Some(text) = self.texts.get(at).filter(|t| t.place == place && t.whose != Whose::Content) else {
                continue;
            };
            if text.fed > 0 || text.whose != Whose::SomeTool {
                self.call(at, tool, desk)?;
            }
        }
        Ok(())
    }
}
