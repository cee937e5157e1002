# As otel/opentelemetry-collector-contrib has it.
FROM scratch
COPY collector /otelcol-contrib
USER 10001:10001
EXPOSE 4317 4318
ENTRYPOINT ["/otelcol-contrib"]
CMD ["--config", "/etc/otelcol-contrib/config.yaml"]
