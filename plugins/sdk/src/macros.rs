//! One macro a kind: the exports of a component. Outside wasm32 they expand to nothing, so that a plugin is unit-tested natively.

/// Makes this crate a component of the kind validator: `tidegate_plugin::validator!(MyStep);`.
///
/// The crate is a `cdylib`; the type implements [`Validator`](crate::Validator).
#[macro_export]
#[rustfmt::skip] // It breaks the indentation around `with_types_in`.
macro_rules! validator {
    ($step:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::bindings::lifecycle::exports::tidegate::plugin::lifecycle;
            use $crate::bindings::validation::exports::tidegate::plugin::validation;
            use $crate::{Batch, Manifest, Reason, Rejection, Validator, glue};

            thread_local! { static STEP: glue::Slot<$step> = const { glue::Slot::new() }; }

            struct Component;

            impl lifecycle::Guest for Component {
                fn describe() -> Manifest {
                    <$step as Validator>::manifest()
                }

                fn configure(settings: String) -> Result<(), Reason> {
                    glue::report_panics();
                    STEP.with(|step| step.configure(<$step as Validator>::from_settings(&settings)))
                }
            }

            impl validation::Guest for Component {
                fn validate(batch: Batch) -> Vec<Rejection> {
                    STEP.with(|step| step.with(|step| step.validate_batch(&batch)))
                }
            }

    $crate::bindings::lifecycle::export_lifecycle!(Component with_types_in $crate::bindings::lifecycle);
    $crate::bindings::validation::export_validation!(Component with_types_in $crate::bindings::validation);
        };
    };
}

/// Makes this crate a component of the kind transformer: `tidegate_plugin::transformer!(MyStep);`.
///
/// The crate is a `cdylib`; the type implements [`Transformer`](crate::Transformer).
#[macro_export]
#[rustfmt::skip] // It breaks the indentation around `with_types_in`.
macro_rules! transformer {
    ($step:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::bindings::lifecycle::exports::tidegate::plugin::lifecycle;
            use $crate::bindings::transformation::exports::tidegate::plugin::transformation;
            use $crate::{Batch, Manifest, Reason, Transformer, glue};

            thread_local! { static STEP: glue::Slot<$step> = const { glue::Slot::new() }; }

            struct Component;

            impl lifecycle::Guest for Component {
                fn describe() -> Manifest {
                    <$step as Transformer>::manifest()
                }

                fn configure(settings: String) -> Result<(), Reason> {
                    glue::report_panics();
                    STEP.with(|step| step.configure(<$step as Transformer>::from_settings(&settings)))
                }
            }

            impl transformation::Guest for Component {
                fn transform(batch: Batch) -> transformation::Answer {
                    STEP.with(|step| step.with(|step| step.transform_batch(&batch))).into()
                }
            }

    $crate::bindings::lifecycle::export_lifecycle!(Component with_types_in $crate::bindings::lifecycle);
    $crate::bindings::transformation::export_transformation!(Component with_types_in $crate::bindings::transformation);
        };
    };
}

/// Makes this crate a component of the kind cipher: `tidegate_plugin::cipher!(MyStep);`.
///
/// The crate is a `cdylib`; the type implements [`Cipher`](crate::Cipher).
#[macro_export]
#[rustfmt::skip] // It breaks the indentation around `with_types_in`.
macro_rules! cipher {
    ($step:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::bindings::lifecycle::exports::tidegate::plugin::lifecycle;
            use $crate::bindings::sealing::exports::tidegate::plugin::sealing;
            use $crate::{Cipher, Key, Manifest, Packed, Reason, glue};

            thread_local! { static STEP: glue::Slot<$step> = const { glue::Slot::new() }; }

            struct Component;

            impl lifecycle::Guest for Component {
                fn describe() -> Manifest {
                    <$step as Cipher>::manifest()
                }

                fn configure(settings: String) -> Result<(), Reason> {
                    STEP.with(|step| step.configure(<$step as Cipher>::from_settings(&settings)))
                }
            }

            impl sealing::Guest for Component {
                fn parameters() -> sealing::CipherParameters {
                    STEP.with(|step| step.with(Cipher::parameters)).into()
                }

                fn seal(key: &sealing::Key, nonces: Packed, contexts: Packed, plain: Packed) -> Result<Packed, Reason> {
                    STEP.with(|step| step.with(|step| step.seal(&Key::lent(key), &nonces, &contexts, &plain)))
                }

                fn open(
                    key: &sealing::Key,
                    nonces: Packed,
                    contexts: Packed,
                    sealed: Packed,
                ) -> Result<sealing::Opening, Reason> {
                    STEP.with(|step| step.with(|step| step.open(&Key::lent(key), &nonces, &contexts, &sealed))).map(Into::into)
                }
            }

    $crate::bindings::lifecycle::export_lifecycle!(Component with_types_in $crate::bindings::lifecycle);
    $crate::bindings::sealing::export_sealing!(Component with_types_in $crate::bindings::sealing);
        };
    };
}
