//! What answers of a session are held to: the policy's schemas, and those of the tools that the client has declared by the time
//! that an answer begins.
//!
//! Tools are the session's, or those that a question brings for its own answer. Which answer a question leads to is not said,
//! so its tools bind beside the session's until as many answers have come as were asked for. A tool that was declared twice
//! binds to both.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use clyra_policy::Facts;

use super::super::{Context, Exchange, refused, unavailable};
use super::Session;
use crate::exchange::judge::PolicyJudge;
use crate::guard::{Block, Bond};
use crate::surface::{Offer, RequestFacts};

/// Questions with tools of their own that may be open at one time. The oldest is forgotten: its tools are none that were
/// offered then.
const OWN_MAX: usize = 16;

/// The tools that the client has declared.
pub(super) struct Offered {
    session: RequestFacts,
    own: VecDeque<RequestFacts>,
    /// Answers that were asked for and have not begun.
    open: u32,
    /// What the session's tools bind answers to by themselves.
    bond: Arc<Bond<PolicyJudge>>,
}

impl Offered {
    pub(super) fn new(bond: Arc<Bond<PolicyJudge>>) -> Offered {
        Offered { session: RequestFacts::default(), own: VecDeque::new(), open: 0, bond }
    }

    /// An answer has begun.
    pub(super) fn begun(&mut self) {
        self.open = self.open.saturating_sub(1);
    }

    /// No answer is under way: where none is to come either, questions' own tools bind nothing any more.
    pub(super) fn rest(&mut self) -> Option<Arc<Bond<PolicyJudge>>> {
        if self.open > 0 || self.own.is_empty() {
            return None;
        }
        self.own.clear();
        Some(Arc::clone(&self.bond))
    }

    fn all(&self) -> RequestFacts {
        let mut seen = BTreeSet::new();
        let mut all = RequestFacts { stream: true, model: self.session.model.clone(), ..RequestFacts::default() };
        for facts in std::iter::once(&self.session).chain(&self.own) {
            let new = facts.tools.iter().filter(|name| !all.tools.contains(name)).cloned().collect::<Vec<_>>();
            all.tools.extend(new);
            all.tool_schemas.extend(facts.tool_schemas.iter().filter(|one| seen.insert(*one)).cloned());
            all.tool_schemas_over = all.tool_schemas_over.saturating_add(facts.tool_schemas_over);
        }
        all
    }
}

impl<'g> Exchange<'g> {
    /// An event of the client that may be sent says this of tools. It is not sent where they cannot be held to.
    pub(super) async fn offer(
        &mut self,
        session: &mut Session<'g>,
        offer: Offer,
        facts: &RequestFacts,
    ) -> Result<(), Block> {
        if self.gateway.policy.schemas().len() == 0 {
            return Ok(());
        }
        match offer {
            Offer::Nothing => return Ok(()),
            Offer::Answer { own: false } => {
                session.offered.open = session.offered.open.saturating_add(1);
                return Ok(());
            }
            Offer::Session | Offer::Answer { own: true } => {}
        }
        let of_session = offer == Offer::Session;
        let before = of_session.then(|| std::mem::replace(&mut session.offered.session, facts.clone()));
        if !of_session {
            if session.offered.own.len() >= OWN_MAX {
                session.offered.own.pop_front();
            }
            session.offered.own.push_back(facts.clone());
        }
        match self.bonds(session, of_session).await {
            Ok(bond) => {
                session.guard.bind(bond);
                session.offered.open = session.offered.open.saturating_add(u32::from(!of_session));
                Ok(())
            }
            Err(block) => {
                match before {
                    Some(before) => session.offered.session = before,
                    None => drop(session.offered.own.pop_back()),
                }
                Err(block)
            }
        }
    }

    /// What answers that begin now are held to.
    async fn bonds(&self, session: &mut Session<'g>, of_session: bool) -> Result<Arc<Bond<PolicyJudge>>, Block> {
        if of_session {
            session.offered.bond = self.bond(&session.context, session.offered.session.clone()).await?;
            if session.offered.own.is_empty() {
                return Ok(Arc::clone(&session.offered.bond));
            }
        }
        self.bond(&session.context, session.offered.all()).await
    }

    /// The policy's schemas for answers with these tools.
    pub(super) async fn bond(
        &self,
        context: &Arc<Context>,
        offered: RequestFacts,
    ) -> Result<Arc<Bond<PolicyJudge>>, Block> {
        let mut request = context.request.clone();
        request.tools.clone_from(&offered.tools);
        let asked = Facts::new(&context.caller, &request, context.now_unix_s);
        let plan = self.gateway.contracts.plan(&context.policy, &asked, Some(&offered)).map_err(refused)?;
        let contracts = Arc::clone(&self.gateway.contracts);
        let compiled = tokio::task::spawn_blocking(move || plan.compile(&contracts)).await;
        let bound = compiled.map_err(|_| unavailable())?.map_err(refused)?.unasked();
        let (context, on_violation) = (Arc::clone(context), bound.on_violation);
        let judge =
            move || PolicyJudge::response(Arc::clone(&context), http::StatusCode::OK.as_u16(), on_violation.clone());
        Ok(Arc::new(Bond { judge: Box::new(judge), bindings: bound.bindings }))
    }
}
