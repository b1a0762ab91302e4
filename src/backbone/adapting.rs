//! Backbones with adapters: put on, and merged into the weights.

use std::path::Path;
use std::sync::Arc;

use super::adapter::shards;
use super::fingerprint::fingerprint;
use super::low_rank::{Kind, LowRank};
use super::parameters::Parameters;
use super::peft::PeftAdapter;
use super::pretrained::Backbone;
use super::spec::{Owner, Spec, SpecMap};
use super::transformer::Transformer;
use crate::array::Array;
use crate::error::{Error, Result};

/// The field of an adapter's metadata with the fingerprint of the backbone that it was made on.
pub(crate) const MADE_ON: &str = "base_fingerprint";

impl Backbone {
    /// A fingerprint of the weights that every pass uses, as they were without adapters.
    pub fn fingerprint(&self) -> Result<String> {
        let used: std::collections::HashSet<String> =
            Transformer::specs(&self.config).into_iter().map(|spec| spec.name).collect();
        fingerprint(&self.params.base().filter(|name| used.contains(name)))
    }

    /// Read the files of an adapter for this backbone; it is called `name`. Unless `any_base`, it must have been made on
    /// this backbone, if the files say on which.
    ///
    /// # Errors
    /// Those of [`PeftAdapter::read`], and `Error::Value` if the adapter was made on another backbone.
    pub(crate) fn read_adapter(&self, dir: &Path, name: &str, any_base: bool) -> Result<PeftAdapter> {
        let file = PeftAdapter::read(dir, name, &self.config, &Self::specs(&self.config))?;
        let made_on = file.metadata.as_ref().and_then(|metadata| metadata.get(MADE_ON)?.as_str());
        if let Some(made_on) = made_on.filter(|_| !any_base)
            && self.fingerprint()? != made_on
        {
            return Err(Error::Value(format!(
                "{}: the adapter was made on another backbone ({}), whose weights differ from those of {}; \
                 allow_other_base=True puts it on all the same",
                dir.display(),
                file.base.as_deref().unwrap_or("not named"),
                self.source
            )));
        }
        Ok(file)
    }

    /// A copy with the adapter in `dir` on it, called `name`. A head that the adapter brings is left out.
    pub fn with_adapter(&self, dir: &Path, name: &str, any_base: bool) -> Result<Self> {
        let (adapted, head) = self.adapted(self.read_adapter(dir, name, any_base)?)?;
        match head.iter().map(|(name, _)| name).find(|name| !self.config.is_of_head(name)) {
            None => Ok(adapted),
            Some(unknown) => {
                Err(Error::Weights(format!("{}: {unknown} is no part of backbone or head", dir.display())))
            }
        }
    }

    /// A copy with an adapter on it, and with the tensors of the backbone that the adapter brings whole. Also returns
    /// the tensors that are none of the backbone's: those of a head.
    pub(crate) fn adapted(&self, file: PeftAdapter) -> Result<(Self, Parameters)> {
        let PeftAdapter { adapter, params: added, whole, .. } = file;
        let (mut params, mut head) = (self.params.clone(), Parameters::default());
        params.add(&Arc::new(adapter), &added)?;
        let mut report = (*self.report).clone();
        for (name, array) in whole {
            if let Ok(own) = params.get(&name) {
                if own.dims() != array.dims() {
                    return Err(Error::Weights(format!(
                        "the adapter brings {name} as {:?}, this backbone has {:?}",
                        array.dims(),
                        own.dims()
                    )));
                }
                if *own.values()? != *params.base().get(&name)?.values()? && *own.values()? != *array.values()? {
                    return Err(Error::Value(format!(
                        "the adapter brings {name}, which another adapter on this backbone has brought already"
                    )));
                }
                params.replace(&name, array)?;
                report.missing.retain(|missing| *missing != name);
            } else {
                // It stands in for the head that the base has itself, which is then not left out.
                report.ignored.retain(|ignored| !self.config.is_of_head(ignored));
                head.insert(name, &Owner::head(""), array);
            }
        }
        Ok((self.with_params(params, report), head))
    }

    /// A copy without adapters, whose weights have them merged: `W + scale * B A` in f64, rounded to f32.
    pub fn merged(&self) -> Result<Self> {
        let specs = Self::specs(&self.config);
        let mut params = self.params.without_adapters();
        for adapter in self.params.adapters() {
            for spec in specs.iter().filter(|spec| adapter.on(&spec.name).is_some()) {
                let merged = merged_weight(params.get(&spec.name)?, spec, adapter, &self.params)?;
                params.replace(&spec.name, merged)?;
            }
        }
        Ok(self.with_params(params, (*self.report).clone()))
    }
}

/// The weight `spec` with an adapter merged into it.
fn merged_weight(weight: &Array, spec: &Spec, adapter: &LowRank, params: &Parameters) -> Result<Array> {
    let (Some(SpecMap { shape: [n_out, n_in], input_major }), Some(map)) = (spec.map, adapter.on(&spec.name)) else {
        return Err(Error::internal(format!("{} is no weight of a map", spec.name)));
    };
    let names = adapter.names_on(&spec.name);
    let own = |i: usize| params.get(&names[i]);
    let a = if adapter.kind == Kind::Miss { shards(map.rank, n_in)? } else { own(0)?.clone() };
    let b = if adapter.kind == Kind::Miss { own(0)? } else { own(1)? };
    let (a, b, r, scale) = (a.values()?, b.values()?, map.rank, adapter.scale(map));
    // `M` of MiSS is stored [r, N].
    let b_at = |o: usize, i: usize| f64::from(b[if adapter.kind == Kind::Miss { i * n_out + o } else { o * r + i }]);
    let at = |o: usize, k: usize| if input_major { k * n_out + o } else { o * n_in + k };
    let old = weight.values()?;
    let mut values = old.to_vec();
    let mut row = vec![0f64; n_in];
    for o in 0..n_out {
        row.iter_mut().enumerate().for_each(|(k, x)| *x = f64::from(old[at(o, k)]));
        for i in 0..r {
            let factor = scale * b_at(o, i);
            row.iter_mut().zip(&a[i * n_in..]).for_each(|(x, a)| *x += factor * f64::from(*a));
        }
        let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        let factor = match adapter.kind {
            Kind::Dora if length > 0.0 => f64::from(own(2)?.values()?[o]) / length,
            _ => 1.0,
        };
        row.iter().enumerate().for_each(|(k, x)| values[at(o, k)] = (factor * x) as f32);
    }
    Array::new(values, weight.shape().clone())
}
