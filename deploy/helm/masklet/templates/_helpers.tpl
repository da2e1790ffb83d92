{{- define "masklet.name" -}}
{{- if contains "masklet" .Release.Name -}}
{{ .Release.Name | trunc 53 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-masklet" .Release.Name | trunc 53 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "masklet.selector" -}}
app.kubernetes.io/name: masklet
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "masklet.labels" -}}
{{ include "masklet.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "masklet.image" -}}
{{ required "image.repository is missing: push the image that deploy/Dockerfile builds, and name it" .Values.image.repository }}
{{- if .Values.image.digest -}}
@{{ .Values.image.digest }}
{{- else -}}
:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- /* The ports that others may reach, read from the configuration so that both agree. */ -}}
{{- define "masklet.ports" -}}
metrics: {{ dig "metrics" "port" 9464 .Values.config }}
{{- if .Values.keysSecret }}
results: {{ dig "zeromq" "endpoint" "tcp://0.0.0.0:5555" .Values.config | regexFind "[0-9]+$" | required "config.zeromq.endpoint must end in a port, such as tcp://0.0.0.0:5555" }}
{{- end }}
{{- if .Values.tokenSecret }}
api: {{ dig "api" "port" 8080 .Values.config }}
{{- end }}
{{- end }}

{{- define "masklet.claim" -}}
{{ .Values.persistence.existingClaim | default (include "masklet.name" .) }}
{{- end }}
