-- A video's components are its total.
SELECT video_id FROM {{ ref('fact_video_generation') }} FINAL
WHERE script_cost + voice_cost + image_cost + processing_cost + other_cost != total_cost
